"""What runs on the board: camera to lock, with no training framework."""

__version__ = "0.1.0"

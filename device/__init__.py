"""What runs on the board: camera to lock, with no training framework."""

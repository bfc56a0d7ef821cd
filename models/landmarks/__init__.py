"""What the landmark network learns: its points, its views, its file."""

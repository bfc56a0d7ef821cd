"""Keys and private files."""

"""What `face-unlock doctor` looks at: one module for each part of a door, each with a `check`."""

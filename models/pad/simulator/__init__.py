"""Made-up frames: people and rooms, prints and screens, and the camera that sees them."""

"""Pages that a person looks at in a browser: oneself while enrolling, the camera, the door's state."""

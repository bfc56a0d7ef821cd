"""Pure numpy: what the door and the training calculate in the same way."""

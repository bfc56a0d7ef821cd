"""How a person gets into the gallery."""

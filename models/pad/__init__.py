"""What the liveness network learns and is tuned on."""

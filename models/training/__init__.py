"""Training: data, losses, the loop and its runs, metrics."""

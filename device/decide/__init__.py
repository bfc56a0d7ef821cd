"""From frames to a reason: votes, challenge, thresholds and waits."""

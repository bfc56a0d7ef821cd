"""Networks, losses, training and int8 export; imported by scripts and tests, never by `device`."""

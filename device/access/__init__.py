"""Who may enter when: policies, PINs, the time of day, and the last word before the bolt."""

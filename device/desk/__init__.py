"""The desk: what the door tells the link to a broker, and what somebody elsewhere may ask of it."""

"""`face-unlock doctor`: a board examined part by part, and one approach watched stage by stage."""

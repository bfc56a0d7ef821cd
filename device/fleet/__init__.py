"""The fleet: the same people at every door, from one keeper, over a broker that learns nothing."""

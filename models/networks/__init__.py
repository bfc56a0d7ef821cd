"""The networks, each the table of its paper, and the registry that knows them by name."""

"""Choose a card: flags and policies become limits and goals, by which the engine filters and ranks cards. Pure."""

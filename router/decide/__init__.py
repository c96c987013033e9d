"""Choose: flags and policies become limits and goals, and the engine weighs the cards with them. Pure."""

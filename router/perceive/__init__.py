"""Read the prompt: features, then a forecast for every card. Pure, but for loading files."""

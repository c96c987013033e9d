"""How much one worker does at once, and how much of that each key and each card may have."""

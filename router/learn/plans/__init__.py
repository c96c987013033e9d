"""Learn when a further model should be asked, from sets with several models' answers to every prompt."""

"""Solving: find the card, or the plan of several cards, that is best for one kind of task, by asking its examples."""

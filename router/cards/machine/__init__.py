"""The shape of a model and the machine that it runs on: what time and memory follow from."""

"""Distillation of the static encoder and of its lexicon."""

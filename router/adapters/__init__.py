"""Adapter folders in PEFT's format: their facts as cards, checks of their weights, conversion to plain LoRA."""

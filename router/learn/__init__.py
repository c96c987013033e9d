"""Get better: routing data sets, training, evaluation."""

"""Learning from outcomes: routing data sets, training, evaluation, onboarding, encoder distillation, reports."""

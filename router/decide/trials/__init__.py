"""What a policy tries beside its own decisions: a card in the shadow, and arms of an experiment."""

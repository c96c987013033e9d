"""What a client's body says beside the prompt: which conversation it continues, and what its answer needs."""

"""How good a card is: what its outcomes, facts, probes and the operator say, as a posterior with its uncertainty."""

"""From a request to the cards that may answer it: selection, availability of cards, and the record of the decision."""

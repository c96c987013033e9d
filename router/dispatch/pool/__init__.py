"""Which deployment of a card is called next: their health, how busy they are, and the queue of calls that wait."""

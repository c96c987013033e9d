"""How each kind of plan asks its members, and what a client sees of their answers."""

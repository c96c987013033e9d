"""What `route doctor` finds out by asking: which keys work, and what models the servers on this machine have."""

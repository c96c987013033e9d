"""Where cards come from and are checked against: litellm's price map, servers on this machine."""

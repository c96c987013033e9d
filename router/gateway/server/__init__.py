"""The gateway's processes: one worker, or several that share a port."""

"""What a prompt says: its human part, its embedding, its surface features, what it depends on."""

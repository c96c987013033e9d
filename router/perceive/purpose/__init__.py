"""What the examples on cards say about prompts like them."""

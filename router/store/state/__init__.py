"""State that gateway workers share: request rates, spending, and the cards of conversations."""

"""The error memories of a running gateway, and the task that feeds them."""

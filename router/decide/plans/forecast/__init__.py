"""What is expected of plans before any call: by columns that were measured, else in closed form."""

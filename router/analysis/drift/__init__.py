"""Whether what the gateway forecasts, and what it is asked, has changed."""

"""The error memory of cards (ReLoop2, S66): what judged answers say about forecasts, in constant memory and time."""

"""Commands about requests that were answered: records, replays, savings."""

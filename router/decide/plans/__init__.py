"""Plans: several calls for one request, as candidates beside single cards."""

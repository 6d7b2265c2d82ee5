"""The chart, as helm renders it and as a real API server takes it."""

"""Building and running models."""

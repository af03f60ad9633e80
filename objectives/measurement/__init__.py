"""Score, latency and FLOPs of a compressed model."""

"""The default sampler: the largest expected gain per second."""

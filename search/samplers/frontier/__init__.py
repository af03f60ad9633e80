"""The default sampler: the largest expected gain in hypervolume per second."""

"""The Gaussian process that predicts the quality of configurations."""

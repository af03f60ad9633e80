"""The Gaussian process that predicts the quality of configurations, without tlc's trials."""

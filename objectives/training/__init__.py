"""Training: paths that trials share, and that resume from the store."""

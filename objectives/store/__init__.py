"""The content-addressed store of checkpoints and models."""

"""Checkpoints of transformers that models start from: finding, checking and opening them."""

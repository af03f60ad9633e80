"""Replaying a recorded table with any sampler."""

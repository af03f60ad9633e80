"""Replays of recorded tables: every sampler, in simulated time, without training."""

"""Checkpoints: the files of a state of training, and how often unfinished training is stored."""

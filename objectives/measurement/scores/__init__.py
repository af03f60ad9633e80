"""Scores of the outputs of models with their intervals, one file for each kind of output."""

"""Queries over a study."""

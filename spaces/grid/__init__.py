"""The points of a search space."""

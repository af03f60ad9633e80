"""Searches whose objective is a function of the user."""

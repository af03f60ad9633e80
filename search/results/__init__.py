"""Queries over studies, their results as values, and the client that asks a service for them."""

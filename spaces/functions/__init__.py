"""A search whose objective is a function: what a person gives, and its points."""

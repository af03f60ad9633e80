"""Peak memory of models in a runtime."""

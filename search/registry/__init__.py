"""Exporting models and registering them in MLflow."""

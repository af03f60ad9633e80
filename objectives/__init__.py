"""What one trial does: train, compress, measure. Knows nothing of Ray, Optuna or MLflow."""

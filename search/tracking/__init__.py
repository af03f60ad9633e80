"""MLflow as a view of a study: the runs, metrics, figures and pages of a search."""

"""Running trials with Ray Tune."""

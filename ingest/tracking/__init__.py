"""MLflow: where runs are logged, and what is said of them there."""

"""What the model reads: chat templates, conditions, markers, strata and tokens."""

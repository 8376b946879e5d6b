"""What a study has to sample so that it can see what it asks about."""

"""The page features of the app."""

"""The page overview of the app."""

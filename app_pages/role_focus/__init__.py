"""The page role focus of the app."""

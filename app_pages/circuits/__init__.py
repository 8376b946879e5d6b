"""The page circuits of the app."""

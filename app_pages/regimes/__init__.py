"""The page regimes of the app."""

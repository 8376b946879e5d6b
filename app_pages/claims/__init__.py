"""The page claims of the app."""

"""The page audit of the app."""

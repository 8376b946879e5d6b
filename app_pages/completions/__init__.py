"""The page completions of the app."""

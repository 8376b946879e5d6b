"""The page Directions."""

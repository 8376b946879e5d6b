"""The page Compare: two checkpoints side by side on a measure they share, and what they differ in."""

"""Training of marker adapters: one of them, and grids of them in parallel processes."""

"""Training of marker adapters: one of them, and the cells of grids of them."""

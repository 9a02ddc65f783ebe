"""Matrix products: their tiles, and weights that are stored quantised or sparse."""

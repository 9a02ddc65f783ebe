"""How an operator's shape becomes a tile program for a chip."""

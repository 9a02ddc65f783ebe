"""The meaning of a tile program on real matrices, which tests compare with the operator's definition."""

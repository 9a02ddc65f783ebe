"""A bench for analytical models: how far off they are, where, and which effect they lack."""

"""The event loop of a cluster, in plain arrays and jitted functions."""

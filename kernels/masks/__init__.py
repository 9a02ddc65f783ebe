"""Masks of attention: which scores are kept, as objects and as flat arrays for jitted loops."""

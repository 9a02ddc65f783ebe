"""Which attention scores are kept, as objects and as flat arrays for jitted loops."""

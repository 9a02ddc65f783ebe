"""Mixtures of experts: the router, grouping rows by expert, the exchange between chips."""

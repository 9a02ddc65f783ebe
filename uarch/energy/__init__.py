"""Joules from event counts: energy tables, the price of each event of a chip, the account of a kernel."""

"""Requests to a serving system: arrival times, lengths and shared prefixes, from files or from generators."""

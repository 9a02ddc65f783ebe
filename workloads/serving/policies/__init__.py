"""Schedulers: what a machine computes in its next step, one policy a module."""

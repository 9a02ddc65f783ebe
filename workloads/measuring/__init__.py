"""Timing kernels on a real device: what to time, how, and the CSV that ``uarch validate`` reads. Knows no framework."""

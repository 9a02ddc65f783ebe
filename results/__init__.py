"""Results of a run: the trace and its file, roll-ups, comparisons, plots.

Plain data in, plain data out: this package imports nothing of the simulator but :mod:`uarch.files.writing`, the one way to
write an output.
"""

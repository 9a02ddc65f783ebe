"""Results of a run: the trace and its file, roll-ups, comparisons, plots.

Plain data in, plain data out: this package imports none of the simulator's packages, so that a trace can be read and
plotted where the simulator is not installed.
"""

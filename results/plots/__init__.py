"""Figures from traces: every function returns a matplotlib figure, :func:`results.plots.style.save` writes it."""

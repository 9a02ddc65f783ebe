"""Quantities that are known at some technology nodes, interpolated between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log


def at_node(nodes_nm: Sequence[float], values: Sequence[float], process_nm: float) -> float:
    """Value at ``process_nm``, linear in the logarithms between ``nodes_nm`` (rising); beyond them that of the last node."""
    if process_nm <= nodes_nm[0]:
        return values[0]
    for i in range(1, len(nodes_nm)):
        if process_nm <= nodes_nm[i]:
            share = log(process_nm / nodes_nm[i - 1]) / log(nodes_nm[i] / nodes_nm[i - 1])
            return exp((1 - share) * log(values[i - 1]) + share * log(values[i])) if share < 1 else values[i]
    return values[-1]

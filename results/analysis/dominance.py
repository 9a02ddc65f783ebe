"""Pareto fronts: alternatives that no other one beats in every cost, and the fronts behind them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def on_front(costs: Floats) -> npt.NDArray[np.bool_]:
    """Tell which points no other one beats: none is as low in every cost and lower in one.

    Parameters
    ----------
    costs
        Float64 ``(points, costs)``, low is good; a row with a NaN is on no front and beats nothing.

    Returns
    -------
    numpy.ndarray
        Bool ``(points,)``. Of equal points all are on the front.

    Examples
    --------
    >>> on_front(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0]])).tolist()
    [True, True, False]
    """
    known = np.flatnonzero(np.isfinite(costs).all(axis=1))
    distinct, which = np.unique(costs[known], axis=0, return_inverse=True)
    kept: list[int] = []
    front = np.empty((0, costs.shape[1]))
    for index, point in enumerate(distinct):  # sorted: what beats a point comes before it
        if not (front <= point).all(axis=1).any():
            front = np.vstack([front, point])
            kept.append(index)
    best = np.zeros(len(costs), np.bool_)
    best[known] = np.isin(which.reshape(-1), kept)
    return best


def front_numbers(costs: Floats) -> npt.NDArray[np.int64]:
    """Number of the front of each point: 0 on the front, 1 on that of the others, and so on; -1 for a row with a NaN.

    >>> front_numbers(np.array([[1.0], [3.0], [2.0], [1.0]])).tolist()
    [0, 2, 1, 0]
    """
    numbers = np.full(len(costs), -1, np.int64)
    left: npt.NDArray[np.bool_] = np.asarray(np.isfinite(costs).all(axis=1))
    number = 0
    while left.any():
        best = on_front(np.where(left[:, None], costs, np.nan))
        numbers[best] = number
        left &= ~best
        number += 1
    return numbers

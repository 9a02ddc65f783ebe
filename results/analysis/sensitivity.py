"""How much of the variation of a result each parameter explains, from a sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MOST_GROUPS = 64
"""Groups into which the values of a parameter are sorted, at most."""
_SMALLEST_GROUP = 8
"""Points in a group of a continuous parameter, on average, at least."""


class Sensitivity(NamedTuple):
    """What one parameter does to a result."""

    first_order: float
    """Share of the variance that the parameter explains alone, without what chance would explain; 0 to 1."""
    lowest: float
    """Lowest mean of the result over points with equal values of the parameter."""
    lowest_at: float | str
    """Value of the parameter there; the mean value of a group of a continuous one."""
    highest: float
    highest_at: float | str


def sensitivity(parameter: npt.NDArray[Any], result: Floats) -> Sensitivity:
    """Sensitivity of a result to one parameter.

    The first-order index of Sobol, variance of the conditional mean over variance, is estimated by one-way analysis of variance
    over the values of the parameter (over groups of equal size if they are many), less what groups of noise would explain
    (epsilon squared: T. L. Kelley, PNAS 21, 1935).

    Parameters
    ----------
    parameter
        Numbers or texts ``(points,)``.
    result
        Float64 ``(points,)``, finite.

    Examples
    --------
    >>> x = np.tile([1.0, 2.0, 3.0], 3)
    >>> sensitivity(x, x**2)[:3]
    (1.0, 1.0, 1.0)
    """
    groups, names = _groups(parameter)
    counts = np.bincount(groups, minlength=len(names))
    means = np.bincount(groups, weights=result, minlength=len(names)) / counts
    lowest, highest = int(np.argmin(means)), int(np.argmax(means))
    total = float(((result - result.mean()) ** 2).sum())
    within = float(((result - means[groups]) ** 2).sum())
    free = len(result) - len(names)
    expected = (len(names) - 1) * within / free if free > 0 else 0.0
    explained = (total - within - expected) / total if total > 0 else 0.0
    return Sensitivity(
        min(1.0, max(0.0, explained)), float(means[lowest]), names[lowest], float(means[highest]), names[highest]
    )


def _groups(parameter: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], list[float | str]]:
    """Group of each point, and what each group is called."""
    values, which = np.unique(parameter, return_inverse=True)
    which = which.reshape(-1)
    if parameter.dtype.kind in "US" or len(values) <= min(MOST_GROUPS, max(2, len(parameter) // 2)):
        return which.astype(np.int64), [each.item() for each in values]
    n_groups = max(2, min(MOST_GROUPS, len(parameter) // _SMALLEST_GROUP))
    groups = (which * n_groups // len(values)).astype(np.int64)
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return groups, [float(parameter[groups == group].mean()) for group in range(int(groups.max()) + 1)]

"""How many dies a wafer holds, and how many of them work."""

from __future__ import annotations

from math import comb, exp, pi, sqrt

import numpy as np
from numpy.typing import NDArray

_OFFSETS = 24
"""Positions of the grid of dies that are tried in each direction, over half a die."""
_QUADRATURE = 64


def dies_by_formula(die_mm2: float, diameter_mm: float = 300.0) -> float:
    """Dies per wafer, ``pi r^2 / A - 2 pi r / sqrt(2 A)``: the rule of LLMCompass and SPAD; not below 0."""
    return max(0.0, pi * (diameter_mm / 2) ** 2 / die_mm2 - pi * diameter_mm / sqrt(2 * die_mm2))


def dies_by_packing(
    die_mm2: float,
    diameter_mm: float = 300.0,
    *,
    edge_exclusion_mm: float = 3.0,
    scribe_mm: float = 0.1,
    aspect: float = 1.0,
) -> int:
    """Whole dies on a wafer: the best of many positions of one grid of rectangles, each with its scribe lines.

    ``aspect``: width over height of a die.
    """
    width, height = sqrt(die_mm2 * aspect) + scribe_mm, sqrt(die_mm2 / aspect) + scribe_mm
    radius = diameter_mm / 2 - edge_exclusion_mm
    shifts = np.linspace(0.0, 0.5, _OFFSETS)
    return max(_inside(radius, width, height, x, y) for x in shifts * width for y in shifts * height)


def _inside(radius: float, width: float, height: float, x: float, y: float) -> int:
    """Cells of a grid through (x, y), seen from the wafer's centre, whose four corners lie within ``radius``."""
    columns, rows = (np.arange(-int(radius / size) - 2, int(radius / size) + 3) for size in (width, height))
    left, bottom = columns * width + x, rows * height + y
    across, up = np.maximum(abs(left), abs(left + width)), np.maximum(abs(bottom), abs(bottom + height))
    return int((across[:, None] ** 2 + up[None, :] ** 2 <= radius**2).sum())


def defect_densities(model: str, mean: float, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Defect densities that dies see, and their probabilities: yield models are mixtures of Poisson's.

    ``poisson``: one density; ``murphy``: a triangle from 0 to twice the mean; ``negative_binomial``: a gamma distribution of
    shape ``alpha``; ``none``: no defects.
    """
    if model == "none" or mean == 0:
        return np.zeros(1), np.ones(1)
    if model == "poisson":
        return np.full(1, mean), np.ones(1)
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
    if model == "murphy":
        x, w = (nodes + 1) / 2, weights / 2  # each half of the triangle by itself, for it has a corner
        densities = np.concatenate([x * mean, (1 + x) * mean])
        return densities, np.concatenate([w * x, w * (1 - x)])
    limit = (alpha + 12 * sqrt(alpha)) / alpha * mean * 2
    densities = (nodes + 1) / 2 * limit
    heights = weights * densities ** (alpha - 1) * np.exp(-alpha * densities / mean)
    return densities, heights / heights.sum()


def yield_fraction(
    die_mm2: float,
    model: str,
    defects_per_mm2: float,
    *,
    alpha: float = 3.0,
    core_mm2: float = 0.0,
    cores: int = 0,
    spare_cores: int = 0,
) -> float:
    """Dies that can be sold, as a fraction.

    Without spares, a die without defects: Poisson ``exp(-A D)``, Murphy ``((1 - exp(-A D)) / (A D))^2``, negative binomial
    ``(1 + A D / alpha)^-alpha``. With ``spare_cores`` of ``cores``, each of ``core_mm2``, so many may be defective.
    """
    densities, shares = defect_densities(model, defects_per_mm2, alpha)
    good = np.zeros_like(densities)
    for i, density in enumerate(densities.tolist()):
        core = exp(-density * core_mm2)
        enough = sum(
            comb(cores, broken) * (1 - core) ** broken * core ** (cores - broken) for broken in range(spare_cores + 1)
        )
        good[i] = exp(-density * (die_mm2 - cores * core_mm2)) * enough
    return float((good * shares).sum())

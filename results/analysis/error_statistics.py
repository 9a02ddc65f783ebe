"""Error statistics of predictions against measurements. All errors are fractions of the measured value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ErrorStatistics:
    """Statistics of relative errors ``(predicted - measured) / measured`` and their absolute values (APE)."""

    rows: int
    mape: float
    """Mean absolute error."""
    median_ape: float
    p90_ape: float
    """Percentile 90 of the absolute errors, linear between neighbours."""
    bias: float
    """Mean signed error: positive where predictions are too slow."""
    within_10_percent: float
    """Share of rows."""
    within_20_percent: float

    def fields(self) -> dict[str, float]:
        """Statistics as a table that can be written as JSON."""
        return asdict(self)


def relative_errors(predicted: Sequence[float] | FloatArray, measured: Sequence[float] | FloatArray) -> FloatArray:
    """``(predicted - measured) / measured``, shape ``(rows,)``, float64.

    Raises:
        ValueError: different lengths, or a measured value that is not positive.
    """
    p, m = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    if p.shape != m.shape or p.ndim != 1:
        raise ValueError(f"predicted {p.shape} and measured {m.shape} must be vectors of one length")
    if not (m > 0).all():
        raise ValueError("measured values must be positive")
    errors: FloatArray = (p - m) / m
    return errors


def error_statistics(
    predicted: Sequence[float] | FloatArray, measured: Sequence[float] | FloatArray
) -> ErrorStatistics:
    """Statistics over at least one row.

    Raises:
        ValueError: as :func:`relative_errors`, and for no rows.
    """
    errors = relative_errors(predicted, measured)
    if not len(errors):
        raise ValueError("statistics of no rows")
    absolute = np.abs(errors)
    return ErrorStatistics(
        rows=len(errors),
        mape=float(absolute.mean()),
        median_ape=float(np.median(absolute)),
        p90_ape=float(np.percentile(absolute, 90)),
        bias=float(errors.mean()),
        within_10_percent=float((absolute <= 0.1).mean()),
        within_20_percent=float((absolute <= 0.2).mean()),
    )

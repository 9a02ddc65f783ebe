"""A model on the bench: its error on a suite by regime, and which mechanism of the simulator explains each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from results.analysis.error_statistics import error_statistics
from uarch.chip.schema import Chip
from uarch.errors import InputError
from workloads.bench.models import predictions
from workloads.bench.regimes import REGIMES, intensity, quantisation, regimes
from workloads.bench.suite import SuiteKernel
from workloads.predictors.kernel import Kernel
from workloads.settings.choices import KernelFidelity, check_choice
from workloads.settings.mechanisms import Mechanism, chip_without, explaining_mechanisms
from workloads.single.attention import simulate_attention
from workloads.single.gemm import simulate_gemm

Truth = Literal["tile", "burst", "measured"]
WORTH_EXPLAINING = 0.05
"""Mean error of a regime below which no reason is looked for."""
_HELPS = 0.9
"""A mechanism explains a regime if without it the mean distance (of logarithms) is at most this part of what it was."""

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Row:
    """A kernel, what the model says of it, and what is true."""

    name: str
    kind: str
    regimes: tuple[str, ...]
    predicted_seconds: float
    true_seconds: float
    intensity: float
    """FLOP per byte."""
    quantisation: float

    @property
    def error(self) -> float:
        """(predicted - true) / true."""
        return self.predicted_seconds / self.true_seconds - 1


@dataclass(frozen=True)
class Explanation:
    """Explanation of a model's error in a regime: without this mechanism the simulator comes nearest to the model."""

    regime: str
    mape: float
    mechanism: str | None
    """Mechanism that explains most; None if taking away no single one helps."""
    lacking: str
    mape_without: float


@dataclass(frozen=True)
class Study:
    """Result of comparing a model with the truth, kernel by kernel."""

    chip: str
    model: str
    truth: str
    rows: tuple[Row, ...]
    explanations: tuple[Explanation, ...]

    def by_regime(self) -> dict[str, dict[str, float]]:
        """Error statistics of all kernels and of each regime that has any: see :mod:`results.analysis.error_statistics`."""
        groups = {"all": self.rows} | {name: [row for row in self.rows if name in row.regimes] for name in REGIMES}
        return {
            name: error_statistics([row.predicted_seconds for row in rows], [row.true_seconds for row in rows]).fields()
            for name, rows in groups.items()
            if rows
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: the error of each regime, and what explains it."""
        from results.report.html import facts  # plots, which it loads, are slow to import

        reasons = {each.regime: f"; lacks {each.lacking}" for each in self.explanations if each.mechanism}
        rows = self.by_regime().items()
        return facts(
            (name, f"{fields['mape']:.1%} of {fields['rows']}{reasons.get(name, '')}") for name, fields in rows
        )

    def payload(self) -> dict[str, Any]:
        """Table of the study that can be written as JSON."""
        rows = [{**asdict(row), "error": row.error} for row in self.rows]
        explanations = [asdict(each) for each in self.explanations]
        head = {"chip": self.chip, "model": self.model, "truth": self.truth}
        return head | {"regimes": self.by_regime(), "explanations": explanations, "kernels": rows}


def study(
    chip: Chip,
    model: str,
    cases: Sequence[SuiteKernel],
    *,
    truth: Truth = "tile",
    explain: bool = True,
    progress: Progress = lambda doing, done: None,
) -> Study:
    """Compare an analytical model with the truth, kernel by kernel.

    Parameters
    ----------
    chip
        The chip on which the kernels run.
    model
        Name of a built-in model, ``package.module:function``, or the path of a CSV of predictions; see
        :func:`workloads.bench.models.predictions`.
    cases
        Kernels of a suite, from :func:`uarch.load_suite`.
    truth
        ``tile`` or ``burst``, the simulator at that fidelity, or ``measured``, the times of the suite.
    explain
        Whether to simulate without each mechanism too; measured times are scaled by what the simulator says of it.
    progress
        Called with what is simulated and how many simulations of :func:`steps` are done.

    Returns
    -------
    Study
        Predicted and true seconds of each kernel; ``by_regime()`` has error statistics.

    Raises
    ------
    InputError
        For an unknown truth or model, or a kernel without a measured time.

    Examples
    --------
    >>> import uarch
    >>> kernels = uarch.load_suite("quick")[:2]
    >>> result = uarch.study(uarch.load_chip("h100"), "roofline", kernels, explain=False)
    >>> result.by_regime()["all"]["rows"]
    2
    """
    check_choice("truth", truth, Truth)
    missing = [case.name for case in cases if case.measured_seconds is None]
    if truth == "measured" and missing:
        raise InputError(f"truth measured: {missing[0]} has no time_us ({len(missing)} of {len(cases)} have none)")
    predicted = np.array(predictions(model, chip, list(cases)))
    fidelity: KernelFidelity = "tile" if truth == "measured" else truth
    counter = _Counter(progress)
    simulated = np.zeros(0)
    if truth != "measured" or explain:
        simulated = counter.simulate("as it is", chip, cases, fidelity)
    true = np.array([case.measured_seconds for case in cases], np.float64) if truth == "measured" else simulated
    rows = tuple(
        Row(
            case.name,
            case.kernel.kind,
            regimes(chip, case.kernel),
            float(seconds),
            float(actual),
            intensity(case.kernel),
            quantisation(chip, case.kernel),
        )
        for case, seconds, actual in zip(cases, predicted, true, strict=True)
    )
    explanations: tuple[Explanation, ...] = ()
    if explain:
        taken = [
            (each, counter.simulate(each.name, chip_without(chip, each), cases, fidelity))
            for each in explaining_mechanisms(chip)
        ]
        explanations = tuple(_explanations(rows, [(each, true * off / simulated) for each, off in taken]))
    return Study(chip.name, model, truth, rows, explanations)


def steps(chip: Chip, cases: Sequence[SuiteKernel], explain: bool) -> int:
    """How many kernels a study simulates at most."""
    return len(cases) * (1 + len(explaining_mechanisms(chip)) if explain else 1)


class _Counter:
    """Simulates kernels and tells how many are done."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.done = progress, 0

    def simulate(
        self, doing: str, chip: Chip, cases: Sequence[SuiteKernel], fidelity: KernelFidelity
    ) -> np.ndarray[Any, Any]:
        seconds = np.zeros(len(cases))
        for index, case in enumerate(cases):
            self.progress(doing, self.done)
            seconds[index] = simulated_seconds(chip, case.kernel, fidelity)
            self.done += 1
        return seconds


def simulated_seconds(chip: Chip, kernel: Kernel, fidelity: KernelFidelity) -> float:
    """The kernel alone on the engine: cold L2, no launch overhead."""
    if kernel.kind == "gemm":
        m, n, k = kernel.sizes
        return simulate_gemm(chip, m, n, k, dtype=kernel.dtype, fidelity=fidelity).seconds
    batch, q_heads, kv_heads, head_dim, q_len, kv_len = kernel.sizes
    return simulate_attention(
        chip,
        "decode" if q_len == 1 else "prefill",
        batch=batch,
        q_heads=q_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        q_len=q_len,
        kv_len=kv_len,
        dtype=kernel.dtype,
        fidelity=fidelity,
    ).seconds


def _explanations(rows: Sequence[Row], taken: Sequence[tuple[Mechanism, Any]]) -> list[Explanation]:
    """Explain each regime that is off by enough by the mechanism without which it is off least."""
    predicted = np.array([row.predicted_seconds for row in rows])
    true = np.array([row.true_seconds for row in rows])
    found = []
    for regime in ("all", *REGIMES):
        chosen = np.array([regime == "all" or regime in row.regimes for row in rows])
        if not chosen.any():
            continue
        before = _mape(predicted[chosen], true[chosen])
        if before < WORTH_EXPLAINING:
            continue
        distances = [_distance(predicted[chosen], off[chosen]) for _, off in taken]
        best = int(np.argmin(distances))
        mechanism, off = taken[best]
        if distances[best] <= _HELPS * _distance(predicted[chosen], true[chosen]):
            after = _mape(predicted[chosen], off[chosen])
            found.append(Explanation(regime, before, mechanism.name, mechanism.lacking, after))
        else:
            found.append(Explanation(regime, before, None, "", before))
    return found


def _distance(predicted: Any, true: Any) -> float:
    """Mean distance of the logarithms: an error of factor 10 is not the end of the scale, as it is for percentages."""
    return float(np.abs(np.log(predicted / true)).mean())


def _mape(predicted: Any, true: Any) -> float:
    return float(np.abs(predicted / true - 1).mean())

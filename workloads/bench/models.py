"""Models on the bench: built-in ones, any Python function, or a table of predictions."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from importlib import import_module
from math import isfinite
from pathlib import Path

from uarch.chip.schema import Chip
from uarch.errors import InputError, unknown_name
from uarch.files.reading import one_line, read_text
from workloads.bench.suite import SuiteKernel
from workloads.predictors.kernel import Kernel
from workloads.predictors.registry import PREDICTORS

Predict = Callable[[Chip, Kernel], float]


def predictions(model: str, chip: Chip, cases: list[SuiteKernel]) -> list[float]:
    """Seconds that a model predicts for each case.

    ``model``: a name of :mod:`workloads.predictors.registry`; ``package.module:function``, called as
    ``function(chip, kernel)``, modules of the working directory included; or a CSV file with the columns ``name`` and
    ``seconds``, the names being those of the suite.

    Raises :class:`uarch.InputError` for a model that cannot be loaded, or that returns anything but a positive number.
    """
    if model.endswith(".csv"):
        return _from_table(Path(model), cases)
    predict = PREDICTORS[model].predict if model in PREDICTORS else _function(model)
    return [_checked(predict(chip, case.kernel), model, case) for case in cases]


def _function(model: str) -> Predict:
    module, colon, name = model.partition(":")
    if not colon:
        allowed = unknown_name(model, list(PREDICTORS))
        raise InputError(f"--model {model!r}: no built-in model; {allowed}, package.module:function, or a CSV file")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"--model {model}: cannot be imported: {one_line(str(error))}") from error
    if not callable(found):
        raise InputError(f"--model {model}: is not callable; allowed: a function of chip and kernel to seconds")
    return found  # type: ignore[no-any-return]


def _checked(seconds: object, model: str, case: SuiteKernel) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0 or not isfinite(seconds):
        raise InputError(
            f"--model {model}: returned {seconds!r} for {case.name}; allowed: a positive number of seconds"
        )
    return float(seconds)


def _from_table(path: Path, cases: list[SuiteKernel]) -> list[float]:
    found: dict[str, float] = {}
    reader = csv.DictReader(io.StringIO(read_text(path)))
    if not {"name", "seconds"} <= set(reader.fieldnames or []):
        raise InputError(f"--model {path}: no columns name and seconds")
    for line in reader:
        text = (line["seconds"] or "").strip()
        try:
            found[(line["name"] or "").strip()] = float(text)
        except ValueError:
            where = f"--model {path}, line {reader.line_num}"
            raise InputError(f"{where}: seconds = {one_line(text)!r}: must be a number") from None
    missing = [case.name for case in cases if case.name not in found]
    if missing:
        raise InputError(f"--model {path}: no prediction of {missing[0]!r} ({len(missing)} missing)")
    return [_checked(found[case.name], str(path), case) for case in cases]

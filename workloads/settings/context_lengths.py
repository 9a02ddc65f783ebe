"""Context lengths of a batch: from a file, or drawn from a distribution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uarch.arrays import IntArray
from uarch.errors import InputError
from uarch.files.presets import Presets
from uarch.files.reading import one_line, read_text, read_toml, validate
from workloads.requests.quantiles import Quantiles

LONGEST = 1 << 24
CONTEXTS = Presets("contexts", Path(__file__).parent / "contexts", more=("constant:N", "uniform:LOW,HIGH", "FILE"))
"""Distributions of lengths that come with the package."""


@dataclass(frozen=True, eq=False)
class Lengths:
    """Lengths of the sequences of a batch: int64 arrays of shape ``(batch,)``."""

    context: IntArray
    new_tokens: IntArray
    """New tokens of each sequence; 0 where the source does not say."""


def context_lengths(source: str, batch: int, seed: int = 0) -> Lengths:
    """Lengths of the ``batch`` contexts that ``source`` names.

    ``source`` is ``constant:N``, ``uniform:LOW,HIGH``, the name of a distribution in ``workloads/contexts``, or a file: a
    TOML file with a distribution, or a text file with a length on each line, of which the first ``batch`` are used. A second
    number on a line says how many new tokens that sequence has.

    Raises :class:`InputError` for anything else, or a file with too few lengths.
    """
    kind, colon, arguments = source.partition(":")
    if colon and kind in ("constant", "uniform"):
        drawn = _formula(source, kind, arguments, batch, seed)
    else:
        path = CONTEXTS.find(source, "contexts")
        if path.suffix != CONTEXTS.suffix:
            return _read(path, batch)
        drawn = validate(Quantiles, read_toml(path), str(path)).draw(batch, seed)
    return Lengths(drawn, np.zeros_like(drawn))


def _formula(source: str, kind: str, arguments: str, batch: int, seed: int) -> IntArray:
    numbers = [int(part) if part.strip().isdecimal() else -1 for part in arguments.split(",")]
    if len(numbers) != (1 if kind == "constant" else 2) or not 1 <= numbers[0] <= numbers[-1] <= LONGEST:
        raise InputError(
            f"contexts = {one_line(source)!r}: must be constant:N or uniform:LOW,HIGH, lengths from 1 to {LONGEST}"
        )
    return np.random.default_rng(seed).integers(numbers[0], numbers[-1] + 1, batch)


def _read(path: Path, batch: int) -> Lengths:
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    for number, parts in enumerate(lines[:batch], 1):
        if len(parts) > 2 or not all(part.isdecimal() and 1 <= int(part) <= LONGEST for part in parts):
            text = one_line(" ".join(parts))[:40]
            raise InputError(
                f"{path}: line {number} = {text!r}: must be a length from 1 to {LONGEST}, and the new tokens if any"
            )
    if len(lines) < batch:
        raise InputError(f"{path}: has {len(lines)} lengths; batch = {batch} needs as many")
    numbers = np.array([(int(parts[0]), int(parts[1]) if len(parts) > 1 else 0) for parts in lines[:batch]], np.int64)
    return Lengths(numbers[:, 0], numbers[:, 1])

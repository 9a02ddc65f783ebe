"""How many tokens each expert gets: balanced, drawn, or given in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernels.experts.routing import Routing, spread_evenly
from uarch.errors import InputError
from uarch.files.reading import one_line, read_text

_ALLOWED = "balanced, uniform, zipf:S with S from 0 to 4, or a file of one number for each expert"
_CHUNK = 1 << 22
"""Number of scores that are drawn at a time."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExpertLoad:
    """Distribution of tokens over experts.

    ``balanced``: every expert gets the same number of tokens, as far as it divides. ``uniform``: every token draws its
    experts. ``zipf``: the same with popularities 1 / rank^exponent, in an order that the seed draws. ``file``: shares of
    all copies, dealt out exactly."""

    kind: str
    exponent: float = 0.0
    shares: tuple[float, ...] = ()

    def routing(self, tokens: int, n_experts: int, top_k: int, seed: int) -> Routing:
        """Experts of ``tokens`` tokens; equal arguments give equal routings.

        Raises:
            InputError: shares of a file for another number of experts, or of too few of them.
        """
        if self.kind in ("uniform", "zipf"):
            return _drawn(tokens, n_experts, top_k, self.exponent, np.random.default_rng(seed))
        shares = np.array(self.shares) if self.kind == "file" else np.ones(n_experts)
        if len(shares) != n_experts or np.count_nonzero(shares) < top_k:
            raise InputError(
                f"expert_load: the file has {len(shares)} numbers, {np.count_nonzero(shares)} above 0; "
                f"needed are {n_experts}, at least {top_k} above 0"
            )
        dealt = spread_evenly(_apportioned(shares, tokens, top_k), tokens, top_k)
        return Routing(dealt.experts[np.random.default_rng(seed).permutation(tokens)], n_experts)


def parse_load(text: str) -> ExpertLoad:
    """``balanced``, ``uniform``, ``zipf:S``, or the path of a file with one number for each expert (a JSON list, or separated
    by blanks or commas). Raises ``InputError`` for anything else.
    """
    if text in ("balanced", "uniform"):
        return ExpertLoad(text)
    if text.startswith("zipf:"):
        exponent = _number(text.removeprefix("zipf:"))
        if exponent is None or not 0 <= exponent <= 4:
            raise InputError(f"expert_load = {one_line(text)!r}: not known; allowed: {_ALLOWED}")
        return ExpertLoad("zipf", exponent)
    if not Path(text).suffix:
        raise InputError(f"expert_load = {one_line(text)!r}: not known; allowed: {_ALLOWED}")
    return ExpertLoad("file", shares=_read_shares(Path(text)))


def _read_shares(path: Path) -> tuple[float, ...]:
    content = read_text(path)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = content.replace(",", " ").split()
    numbers = [_number(value) for value in values] if isinstance(values, list) else []
    known = [number for number in numbers if number is not None and number >= 0]
    if not known or len(known) < len(numbers):
        raise InputError(f"expert_load {one_line(str(path))}: must hold one number for each expert, none below 0")
    return tuple(known)


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _drawn(tokens: int, n_experts: int, top_k: int, exponent: float, random: np.random.Generator) -> Routing:
    """Draw experts by Gumbel scores: the ``top_k`` best are a draw without replacement in proportion to popularity."""
    popularity = -exponent * np.log(1 + random.permutation(n_experts))
    chosen = np.empty((tokens, top_k), np.int64)
    step = max(1, _CHUNK // n_experts)
    for first in range(0, tokens, step):
        scores = random.gumbel(size=(min(step, tokens - first), n_experts)) + popularity
        chosen[first : first + step] = np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k]
    return Routing(np.sort(chosen, axis=1), n_experts)


def _apportioned(shares: Floats, tokens: int, top_k: int) -> npt.NDArray[np.int64]:
    """Whole rows in proportion to ``shares``, by largest remainders; what is above ``tokens`` goes to the others."""
    rows = np.zeros(len(shares), np.int64)
    open_shares = shares.astype(np.float64)
    left = tokens * top_k
    while left:
        exact = open_shares * left / open_shares.sum()
        added = np.floor(exact).astype(np.int64)
        remainder = np.argsort(added - exact, kind="stable")[: left - int(added.sum())]
        added[remainder] += 1
        rows = np.minimum(rows + added, tokens)
        open_shares[rows == tokens] = 0
        left = tokens * top_k - int(rows.sum())
    return rows

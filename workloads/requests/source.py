"""Where requests come from, as a table of a cluster file or options of a command: a file, a generator, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from uarch.arrays import FloatArray, IntArray
from uarch.errors import InputError
from uarch.files.section import Section
from workloads.requests.arrivals import renewal_arrivals
from workloads.requests.length_distribution import load_length_distribution
from workloads.requests.reading import prefix_starts, read_requests
from workloads.requests.records import LONGEST_TOKENS, Requests

Tokens = Annotated[int, Field(ge=1, le=LONGEST_TOKENS)]
Positive = Annotated[float, Field(gt=0)]
Arrivals = Literal["poisson", "gamma", "trace"]
Drawing = Literal["joint", "independent", "in-order"]

MOST_REQUESTS = 1 << 27


class RequestSource(Section):
    """A workload: exactly one of ``file``, ``lengths`` and constant lengths, and how the requests arrive.

    >>> source = RequestSource(input_tokens=100, output_tokens=10, requests_per_second=2.0, count=50)
    >>> len(make_requests(source, seed=0))
    50
    """

    file: str | None = None
    """Request file of any layout in ``formats.toml``; a relative path is looked up from the working folder."""
    lengths: str | None = None
    """Shipped distribution of lengths, or a TOML file with one."""
    input_tokens: Tokens | None = None
    """Prompt tokens of every request, with ``output_tokens``."""
    output_tokens: Tokens | None = None
    arrivals: Arrivals | None = None
    """Left out: as in the file, else ``poisson``."""
    requests_per_second: Positive | None = None
    """Mean rate; left out: that of the file or of the trace behind ``lengths``."""
    rate_scale: Positive | None = None
    """Factor on that rate."""
    cv: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Standard deviation over mean of the times between arrivals, with arrivals ``gamma``."""
    draw: Drawing | None = None
    """Lengths of a file for drawn arrivals: pairs drawn together (``joint``, the default), independently of each other, or
    ``in-order``; ``joint`` or ``independent`` of ``lengths``."""
    count: Annotated[int, Field(ge=1, le=MOST_REQUESTS)] | None = None
    """Requests; of a file played back: at most as many, from the start."""
    duration_seconds: Positive | None = None
    """Arrivals end then; left out with ``count``: that of the file."""

    @model_validator(mode="after")
    def _check(self) -> RequestSource:
        constant = self.input_tokens is not None or self.output_tokens is not None
        if (self.file is not None) + (self.lengths is not None) + constant != 1:
            raise ValueError("must have exactly one of file, lengths, and input_tokens with output_tokens")
        if constant and (self.input_tokens is None or self.output_tokens is None):
            raise ValueError("must have input_tokens and output_tokens together")
        if self.file is None and self.arrivals == "trace":
            raise ValueError("arrivals = 'trace' must have a file")
        if self.file is None and self.draw == "in-order":
            raise ValueError("draw = 'in-order' must have a file")
        if constant and self.requests_per_second is None:
            raise ValueError("must have requests_per_second with constant lengths")
        if self.file is None and self.count is None and self.duration_seconds is None:
            raise ValueError("must have count or duration_seconds")
        if self.cv != 1 and self.arrivals != "gamma":
            raise ValueError("cv must come with arrivals = 'gamma'")
        return self


def make_requests(source: RequestSource, seed: int) -> Requests:
    """Make the requests of a source; equal arguments give equal bits.

    Raises
    ------
    InputError
        If its file or distribution is unknown or wrong, or if no request arrives.
    """
    trace = read_requests(Path(source.file)) if source.file is not None else None
    if trace is not None and source.arrivals in (None, "trace"):
        return _played_back(source, trace)
    return _drawn(source, trace, np.random.default_rng(seed))


def _played_back(source: RequestSource, trace: Requests) -> Requests:
    scale = source.rate_scale or 1.0
    if source.requests_per_second is not None:
        if not trace.mean_rate_per_second:
            raise InputError(f"{source.file}: requests_per_second cannot be set for requests that all arrive at once")
        scale *= source.requests_per_second / trace.mean_rate_per_second
    played = trace if scale == 1 else trace.at_rate(scale)
    count = len(played) if source.count is None else min(source.count, len(played))
    if source.duration_seconds is not None:
        count = min(count, int(np.searchsorted(played.arrival_seconds, source.duration_seconds, "right")))
    return played.first(count)


def _drawn(source: RequestSource, trace: Requests | None, random: np.random.Generator) -> Requests:
    rate = _rate(source, trace)
    cv = source.cv if source.arrivals == "gamma" else 1.0
    duration = source.duration_seconds
    if duration is None and source.count is None:
        assert trace is not None
        duration = trace.span_seconds
    arrivals = _arrivals(rate, cv, source.count, duration, random)
    if trace is None:
        inputs, outputs = _drawn_lengths(source, len(arrivals), random)
        return Requests(arrivals, inputs, outputs)
    if source.draw == "independent":
        rows = random.integers(0, len(trace), (2, len(arrivals)))
        return Requests(arrivals, trace.input_tokens[rows[0]], trace.output_tokens[rows[1]])
    in_order = source.draw == "in-order"
    chosen = np.arange(len(arrivals)) % len(trace) if in_order else random.integers(0, len(trace), len(arrivals))
    return _rows(trace, chosen, arrivals)


def _rate(source: RequestSource, trace: Requests | None) -> float:
    rate = source.requests_per_second
    if rate is None and trace is not None:
        rate = trace.mean_rate_per_second
    if rate is None:
        assert source.lengths is not None
        rate = load_length_distribution(source.lengths).requests_per_second
    if not rate:
        raise InputError(f"{source.file}: has no rate, since its requests arrive at once; give requests_per_second")
    return rate * (source.rate_scale or 1.0)


def _arrivals(
    rate: float, cv: float, count: int | None, duration: float | None, random: np.random.Generator
) -> FloatArray:
    """Draw arrivals until ``count`` are there or ``duration`` is over."""
    expected = count if duration is None else int(rate * duration * 1.1 + 10 * (1 + cv) * (1 + rate * duration) ** 0.5)
    assert expected is not None
    size = min(expected if count is None else min(expected, count), MOST_REQUESTS)
    times = renewal_arrivals(size, rate, cv, random)
    while duration is not None and times[-1] <= duration and len(times) < (count or MOST_REQUESTS):
        times = np.concatenate([times, times[-1] + renewal_arrivals(size, rate, cv, random)])
    if duration is not None:
        times = times[: np.searchsorted(times, duration, "right")]
    times = times[:count]
    if not len(times):
        raise InputError(f"duration_seconds = {duration}: no request arrives at {rate:g} a second; give more")
    return times


def _drawn_lengths(source: RequestSource, count: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    if source.lengths is not None:
        return load_length_distribution(source.lengths).draw(count, random, source.draw != "independent")
    return np.full(count, source.input_tokens, np.int64), np.full(count, source.output_tokens, np.int64)


def _rows(trace: Requests, chosen: IntArray, arrivals: FloatArray) -> Requests:
    """Return the chosen requests of a trace, with the hashes of their prefixes, arriving at these times."""
    lengths = trace.input_tokens[chosen], trace.output_tokens[chosen]
    if not trace.prefix_block_tokens:
        return Requests(arrivals, *lengths)
    blocks = [trace.prefix_of(int(row)) for row in chosen]
    starts = prefix_starts(np.array([len(row) for row in blocks], np.int64))
    return Requests(arrivals, *lengths, np.concatenate(blocks), starts, trace.prefix_block_tokens)

"""The trace event format as its document describes it, strictly: which fields an event of each phase has, and what is in them.

"Trace Event Format", Google: JSON object format, metadata (M), complete (X) and counter (C) events.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

Microseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Number = Annotated[int, Field(ge=0)]

_METADATA = {
    "process_name": ("name", str),
    "process_labels": ("labels", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}


class _Event(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: Name
    pid: Number
    tid: Number = 0
    cat: str = ""


class Metadata(_Event):
    """Names and order of processes and threads: a known kind with its one argument."""

    ph: Literal["M"]
    args: dict[str, Any]

    @model_validator(mode="after")
    def _check(self) -> Metadata:
        key, kind = _METADATA[self.name]
        assert list(self.args) == [key], f"{self.name}: {self.args}"
        assert isinstance(self.args[key], kind), f"{self.name}: {self.args}"
        return self


class Complete(_Event):
    """A span of time on a thread; arguments are JSON values."""

    ph: Literal["X"]
    tid: Number
    ts: Microseconds
    dur: Microseconds
    args: dict[Name, str | int | float] = {}


class Counter(_Event):
    """Series of numbers, which hold until the next event of that name."""

    ph: Literal["C"]
    ts: Microseconds
    args: Annotated[dict[Name, Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1)]


class TraceFile(BaseModel):
    """The object format."""

    model_config = ConfigDict(strict=True, extra="forbid")

    traceEvents: list[Annotated[Metadata | Complete | Counter, Field(discriminator="ph")]]  # noqa: N815
    displayTimeUnit: Literal["ms", "ns"]  # noqa: N815
    otherData: dict[str, Any]  # noqa: N815


def check_trace_events(text: str) -> None:
    """Raise for a file that the format does not allow, or that a viewer would show wrongly.

    Every process and thread with events has a name, the series of a counter do not change, spans of a thread nest, and
    counters go forward in time.
    """
    events = TypeAdapter(TraceFile).validate_json(text).traceEvents
    named = {(event.name, event.pid, event.tid) for event in events if isinstance(event, Metadata)}
    threads: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    counters: dict[tuple[int, str], list[Counter]] = defaultdict(list)
    for event in events:
        assert ("process_name", event.pid, 0) in named, event
        if isinstance(event, Complete):
            assert ("thread_name", event.pid, event.tid) in named, event
            threads[event.pid, event.tid].append((event.ts, event.ts + event.dur))
        if isinstance(event, Counter):
            counters[event.pid, event.name].append(event)
    for spans in threads.values():
        _check_nesting(sorted(spans, key=lambda span: (span[0], -span[1])))
    for series in counters.values():
        assert len({frozenset(event.args) for event in series}) == 1
        assert [event.ts for event in series] == sorted(event.ts for event in series)


def _check_nesting(spans: list[tuple[float, float]]) -> None:
    """Within the rounding of microseconds, a span ends before those end in which it began."""
    ends: list[float] = []
    for begin, end in spans:
        while ends and ends[-1] <= begin + 2e-6:
            ends.pop()
        assert not ends or end <= ends[-1] + 2e-6, (begin, end, ends[-1])
        ends.append(end)

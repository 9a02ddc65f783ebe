"""A cluster serves requests: plain descriptions in, what happened to every request and machine out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from uarch.arrays import FloatArray, IntArray
from uarch.errors import InputError, unknown
from workloads.requests.records import Requests
from workloads.serving.loop.dispatch import DISPATCHES
from workloads.serving.loop.event_heap import new_event_heap
from workloads.serving.loop.event_loop import run_events
from workloads.serving.loop.reallocation import REALLOCATIONS
from workloads.serving.loop.records import (
    CLUSTER_DTYPE,
    GAP_BINS,
    MACHINE_DTYPE,
    NOBODY,
    OUTCOMES,
    ROLES,
    SAMPLE_DTYPE,
    SEQUENCE_DTYPE,
    SLOT_DTYPE,
    State,
    StructArray,
)
from workloads.serving.policies.registry import POLICIES, RESERVES_OUTPUT, TAKES_WHOLE_PROMPTS
from workloads.serving.step_times.step_grid import SECONDS, StepGrid, StepTable, stack_tables, step_value

_TYPICAL_CONTEXT = 1024
"""Keys of a token for the rough rates of dispatch by expected time."""
_NEVER = -1.0
SAMPLES = 1024
"""Most samples of a time series."""


@dataclass(frozen=True)
class Machine:
    """One scheduler and the chips that it commands."""

    role: str
    """One of ``ROLES``."""
    policy: str
    """One of ``POLICIES``."""
    kv_tokens: int
    """Tokens that its KV memory holds; rounded down to whole blocks."""
    table: int = 0
    """Number of the table of step times that is its own."""
    pool: int = 0
    max_sequences: int = 256
    """Requests that it computes at the same time."""
    max_batched_tokens: int = 2048
    """New tokens of a step."""
    block_tokens: int = 16
    full_reservation: bool | None = None
    """Memory for a request's whole output is taken at the start; None: as its policy does."""
    prefix_cache: bool = False
    host_seconds: float = 0.0
    """Seconds of the host between two steps."""
    kv_bytes_per_token: float = 0.0
    """Bytes that a token of a request's KV cache takes on all chips together."""
    layers: int = 1
    link_bytes_per_second: float = inf


@dataclass(frozen=True)
class Transfer:
    """How KV caches go from machine to machine."""

    layerwise: bool = False
    """While the prefill computes, layer by layer."""
    shared: bool = False
    """A machine sends, and receives, one cache after the other; else each has the link's bandwidth for itself."""
    latency_seconds: float = 0.0


@dataclass(frozen=True)
class Reallocation:
    """When machines change their role; see :mod:`workloads.serving.loop.reallocation`."""

    kind: str = "none"
    """One of ``REALLOCATIONS``."""
    threshold_tokens: int = 8192
    """Prompt tokens pending on a machine above which the mixed pool helps it."""
    interval_seconds: float = 1.0
    high_seconds: float = 2.0
    low_seconds: float = 0.5
    high_occupancy: float = 0.9
    low_occupancy: float = 0.6


@dataclass(frozen=True, eq=False)
class Limits:
    """When to stop before all requests are served."""

    end_seconds: float = inf
    first_token_seconds: FloatArray | None = None
    """Seconds from arrival to the first token beyond which each request is late, ``(n,)``."""
    later_token_seconds: FloatArray | None = None
    """Mean seconds of a token after the first beyond which each request is late, ``(n,)``."""
    allowed_late: int = -1
    """Late requests (both limits count) before the run is given up; -1: any number."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """Machines, their step times and how they work together."""

    machines: tuple[Machine, ...]
    tables: tuple[StepTable, ...]
    prefill_dispatch: str = "least-tokens"
    """One of ``DISPATCHES``: for requests that arrive."""
    decode_dispatch: str = "least-kv"
    """One of ``DISPATCHES``: for the machine that decodes what another one prefills."""
    transfer: Transfer = field(default_factory=Transfer)
    reallocation: Reallocation = field(default_factory=Reallocation)


@dataclass(frozen=True, eq=False)
class Served:
    """What happened."""

    requests: Requests
    sequences: StructArray
    """``(n,)`` of ``SEQUENCE_DTYPE``; times are since the start of the workload, -1 for what has not happened."""
    machines: StructArray
    """``(M,)`` of ``MACHINE_DTYPE``: the accounts of each machine."""
    gaps: IntArray
    """Histogram of the times between tokens, see :mod:`workloads.serving.loop.gaps`."""
    gap_seconds_total: float
    sample_times: FloatArray
    """``(T,)``, seconds."""
    samples: StructArray
    """``(T, M)`` of ``SAMPLE_DTYPE``."""
    end_seconds: float
    outcome: str
    """One of ``OUTCOMES``."""
    events: int


def serve(cluster: Cluster, requests: Requests, limits: Limits | None = None, samples: int = SAMPLES) -> Served:
    """Let a cluster serve requests; pure, equal arguments give equal bits.

    ``samples``: most rows of the time series; 0 for none.

    Raises
    ------
    InputError
        For a name that is not known, a phase that no machine takes, or a request that can never fit into a machine's memory.
    """
    state = new_state(cluster, requests, limits or Limits(), samples)
    run_events(state)
    return _served(state, requests)


def new_state(cluster: Cluster, requests: Requests, limits: Limits, samples: int) -> State:
    """Return the arrays of the event loop before the first request; ``InputError`` as in :func:`serve`."""
    _check(cluster, requests)
    n, count = len(requests), len(cluster.machines)
    grid = stack_tables(cluster.tables)
    machines = _machine_rows(cluster, requests, grid)
    slots, buckets = _prefix_caches(machines)
    most = int(machines["max_sequences"].max()) + 1
    return State(
        cluster=_cluster_row(cluster, requests, limits, samples),
        machines=machines,
        sequences=_sequence_rows(requests),
        running=np.zeros((count, most), np.int64),
        dirty=np.zeros(count, np.int64),
        grid=grid,
        heap=new_event_heap(count + n + 2),
        prefix_blocks=requests.prefix_blocks,
        prefix_starts=requests.prefix_starts,
        slots=slots,
        buckets=buckets,
        gaps=np.zeros(GAP_BINS, np.int64),
        sample_times=np.zeros(samples, np.float64),
        samples=np.zeros((samples, count), SAMPLE_DTYPE),
        limits=_limits(limits, n),
    )


def _check(cluster: Cluster, requests: Requests) -> None:
    for index, machine in enumerate(cluster.machines):
        _check_name(f"machine {index}: role", machine.role, ROLES)
        _check_name(f"machine {index}: policy", machine.policy, POLICIES)
        if machine.prefix_cache and requests.prefix_block_tokens % machine.block_tokens:
            raise InputError(
                f"machine {index}: block_tokens = {machine.block_tokens}: must divide the {requests.prefix_block_tokens} "
                "tokens of a hashed block of the requests"
            )
    _check_name("prefill_dispatch", cluster.prefill_dispatch, DISPATCHES)
    _check_name("decode_dispatch", cluster.decode_dispatch, DISPATCHES)
    _check_name("reallocation", cluster.reallocation.kind, REALLOCATIONS)
    roles = {machine.role for machine in cluster.machines}
    if not roles & {"both", "prefill", "mixed"}:
        raise InputError("roles: no machine takes prefills; needed: both, prefill or mixed")
    if roles & {"prefill", "mixed"} and not roles & {"decode", "mixed"}:
        raise InputError("roles: no machine decodes what the prefill machines make; needed: decode or mixed")
    if cluster.reallocation.kind != "none" and not {"prefill", "decode"} <= roles:
        raise InputError(
            f"reallocation = {cluster.reallocation.kind!r}: needs machines in the roles prefill and decode"
        )
    if cluster.reallocation.kind != "none" and "both" in roles:
        raise InputError(f"reallocation = {cluster.reallocation.kind!r}: not with machines in the role both")
    _check_fits(cluster, requests)
    _check_tables(cluster, requests)


def _check_name(field_name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise unknown(field_name, value, allowed)


def _check_fits(cluster: Cluster, requests: Requests) -> None:
    """Refuse the first request that the machine with the least memory cannot hold alone."""
    smallest = min(
        cluster.machines, key=lambda machine: machine.kv_tokens // machine.block_tokens * machine.block_tokens
    )
    capacity = smallest.kv_tokens // smallest.block_tokens * smallest.block_tokens
    needed = requests.input_tokens + requests.output_tokens
    for r in np.flatnonzero(needed > capacity)[:1]:
        raise InputError(
            f"request {r + 1}: {requests.input_tokens[r]} input and {requests.output_tokens[r]} output tokens can never fit: "
            f"pool {smallest.pool + 1} has KV memory for {capacity} tokens a machine"
        )


def _check_tables(cluster: Cluster, requests: Requests) -> None:
    """Refuse tables of step times that do not reach as far as the steps of a machine can."""
    longest = int((requests.input_tokens + requests.output_tokens).max())
    for index, machine in enumerate(cluster.machines):
        table = cluster.tables[machine.table]
        tokens = machine.max_batched_tokens
        if TAKES_WHOLE_PROMPTS[machine.policy]:
            tokens = max(tokens, longest + machine.max_sequences)
        for what, has, needs in (
            ("sequences", len(table.decode) - 1, machine.max_sequences),
            ("tokens", len(table.dense) - 1, tokens),
        ):
            if has < needs:
                raise InputError(
                    f"machine {index}: a step can have {needs} {what}; its table of step times ends at {has}"
                )


def _machine_rows(cluster: Cluster, requests: Requests, grid: StepGrid) -> StructArray:
    rows = np.zeros(len(cluster.machines), MACHINE_DTYPE)
    for row, machine in zip(rows, cluster.machines, strict=True):
        for name in ("pool", "table", "max_sequences", "max_batched_tokens", "block_tokens", "host_seconds", "layers"):
            row[name] = getattr(machine, name)
        for name in ("kv_bytes_per_token", "link_bytes_per_second", "prefix_cache"):
            row[name] = getattr(machine, name)
        reserved = RESERVES_OUTPUT[machine.policy] if machine.full_reservation is None else machine.full_reservation
        row["full_reservation"] = reserved
        row["role"] = row["home_role"] = ROLES.index(machine.role)
        row["policy"] = POLICIES.index(machine.policy)
        row["kv_blocks"] = row["free_blocks"] = machine.kv_tokens // machine.block_tokens
        row["unit_tokens"] = requests.prefix_block_tokens or machine.block_tokens
        rates = _rough_rates(machine, grid)
        row["prefill_seconds_per_token"], row["decode_seconds_per_token"] = rates
    for name in ("waiting_first", "waiting_last", "expected_first", "expected_last", "oldest_idle", "newest_idle"):
        rows[name] = NOBODY
    return rows


def _rough_rates(machine: Machine, grid: StepGrid) -> tuple[float, float]:
    """Seconds a prompt token in a full step, and a decoded token in a full batch, at a typical context."""
    tokens, rows, table = machine.max_batched_tokens, machine.max_sequences, machine.table
    pairs = tokens * float(_TYPICAL_CONTEXT)
    prefill = step_value(grid, table, 1, 0, 0.0, tokens, pairs, SECONDS) + machine.host_seconds
    decode = step_value(grid, table, rows, rows, rows * float(_TYPICAL_CONTEXT), 0, 0.0, SECONDS) + machine.host_seconds
    return prefill / tokens, decode / rows


def _prefix_caches(machines: StructArray) -> tuple[StructArray, IntArray]:
    """Return the slots, all free, and the empty hash tables of the machines that have a prefix cache."""
    n_slots, n_buckets = 0, 0
    for row in machines:
        if row["prefix_cache"]:
            count = int(row["kv_blocks"] * row["block_tokens"] // row["unit_tokens"]) + 1
            row["first_slot"], row["first_bucket"] = n_slots, n_buckets
            row["free_slot"] = n_slots
            row["buckets"] = 1 << (2 * count).bit_length()
            n_slots += count
            n_buckets += int(row["buckets"])
    slots = np.zeros(n_slots, SLOT_DTYPE)
    slots["newer"] = np.arange(1, n_slots + 1)
    return slots, np.zeros(n_buckets, np.int64)


def _sequence_rows(requests: Requests) -> StructArray:
    rows = np.zeros(len(requests), SEQUENCE_DTYPE)
    for name in ("arrival_seconds", "input_tokens", "output_tokens"):
        rows[name] = getattr(requests, name)
    for name in ("admitted_seconds", "first_token_seconds", "last_token_seconds", "transfer_seconds"):
        rows[name] = _NEVER
    for name in ("machine", "prefill_machine", "decode_machine", "next"):
        rows[name] = NOBODY
    return rows


def _cluster_row(cluster: Cluster, requests: Requests, limits: Limits, samples: int) -> StructArray:
    rows = np.zeros(1, CLUSTER_DTYPE)
    row, reallocation = rows[0], cluster.reallocation
    row["prefill_dispatch"] = DISPATCHES.index(cluster.prefill_dispatch)
    row["decode_dispatch"] = DISPATCHES.index(cluster.decode_dispatch)
    row["reallocation"] = REALLOCATIONS.index(reallocation.kind)
    row["layerwise_transfer"] = cluster.transfer.layerwise
    row["shared_links"] = cluster.transfer.shared
    row["transfer_latency_seconds"] = cluster.transfer.latency_seconds
    row["end_seconds"] = limits.end_seconds
    row["allowed_late"] = limits.allowed_late
    for name in (
        "threshold_tokens",
        "interval_seconds",
        "high_seconds",
        "low_seconds",
        "high_occupancy",
        "low_occupancy",
    ):
        row[name] = getattr(reallocation, name)
    row["sample_seconds"] = max(requests.span_seconds / SAMPLES, 1e-3) if samples else 0.0
    return rows


def _limits(limits: Limits, n: int) -> FloatArray:
    if limits.first_token_seconds is None and limits.later_token_seconds is None:
        return np.zeros((0, 2))
    columns = (limits.first_token_seconds, limits.later_token_seconds)
    return np.stack([np.full(n, inf) if column is None else column for column in columns], axis=1)


def _served(state: State, requests: Requests) -> Served:
    cluster = state.cluster[0]
    count = int(cluster["samples"])
    return Served(
        requests,
        state.sequences,
        state.machines,
        state.gaps,
        float(cluster["gap_seconds_total"]),
        state.sample_times[:count],
        state.samples[:count],
        float(cluster["now_seconds"]),
        OUTCOMES[cluster["outcome"]],
        int(cluster["events"]),
    )

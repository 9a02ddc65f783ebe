"""Random small clusters with tight memory, the same for the event loop and for the naive one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.oracles.naive_cluster import NaiveCluster
from tests.oracles.naive_server import StepSeconds
from workloads.requests.records import Requests
from workloads.serving.loop.dispatch import DISPATCHES
from workloads.serving.policies.registry import POLICIES, RESERVES_OUTPUT
from workloads.serving.simulation import Cluster, Limits, Machine, Reallocation, Transfer, new_state
from workloads.serving.step_times.step_grid import StepTable

MOST_TOKENS = 4000
MOST_ROWS = 64
CONTEXTS = np.array([1.0, 13.0, 40.5, 100.0])
SHAPES = (
    ("both",),
    ("both", "both", "both"),
    ("prefill", "decode"),
    ("prefill", "prefill", "decode", "decode"),
    ("mixed", "mixed"),
    ("prefill", "mixed", "decode"),
    ("both", "prefill", "decode"),
)


def table(speed: float) -> StepTable:
    """A table with a staircase of rows, bends at the knots of contexts, and prefills linear in pairs."""
    tokens = np.arange(MOST_TOKENS + 1)
    dense = speed * (0.011 + 0.0017 * np.ceil(tokens / 8) + 1e-5 * tokens)
    rows = np.arange(MOST_ROWS + 1)
    decode = speed * 1e-4 * rows[:, None] * np.array([0.9, 2.1, 7.7, 9.3])
    keys, lengths = np.array([1.0, 200.0]), np.array([1.0, 64.0, 5000.0])
    prefill = speed * 1e-6 * lengths[:, None] * keys
    return StepTable(
        _with_joules(dense),
        _with_joules(decode),
        CONTEXTS,
        _with_joules(prefill),
        lengths,
        keys,
        np.array([3e-4, 0.1]) * speed,
    )


def _with_joules(seconds: np.ndarray) -> np.ndarray:
    return np.stack([seconds, 100 * seconds + 1], axis=-1)


def naive_seconds(speed: float) -> StepSeconds:
    """The same step times in other words."""

    def seconds(sequences: int, decodes: int, contexts: float, tokens: int, pairs: float) -> float:
        dense = 0.011 + 0.0017 * -(-(decodes + tokens) // 8) + 1e-5 * (decodes + tokens)
        attention = 1e-6 * pairs
        if decodes:
            mean, (a, b, c, d) = contexts / decodes, CONTEXTS
            low, high, x, y = (0.9, 2.1, a, b) if mean < b else (2.1, 7.7, b, c) if mean < c else (7.7, 9.3, c, d)
            attention += 1e-4 * decodes * (low + (high - low) * (mean - x) / (y - x))
        return speed * (dense + 3e-4 * sequences + attention)

    return seconds


@st.composite
def requests(draw: st.DrawFn, hashed: bool) -> Requests:
    """Up to 30 requests with arrival times that no two events share; half of the prompts share prefixes if ``hashed``."""
    count = draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    spread = draw(st.sampled_from([0.01, 0.5, 5.0]))
    arrivals = np.sort(random.random(count) * spread)
    prompts, outputs = random.integers(1, 70, count), random.integers(1, 50, count)
    if not hashed:
        return Requests(arrivals, prompts, outputs)
    unit = 16
    counts = prompts // unit
    blocks = [
        10 * random.integers(0, 2) + np.arange(n) + 100 * (np.arange(n) > 1) * random.integers(0, 3) for n in counts
    ]
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Requests(arrivals, prompts, outputs, np.concatenate(blocks).astype(np.int64), starts, unit)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Cluster, Requests]:
    """A cluster of up to four machines, some of another speed, and what it is to serve."""
    roles = draw(st.sampled_from(SHAPES))
    prefix_cache = draw(st.booleans())
    policy = draw(st.sampled_from(POLICIES))
    base = Machine(
        role="both",
        policy=policy,
        kv_tokens=draw(st.integers(120, 700)),
        max_sequences=draw(st.sampled_from([1, 2, 5, 40])),
        max_batched_tokens=draw(st.sampled_from([8, 24, 64, 300])),
        block_tokens=draw(st.sampled_from([1, 8, 16])),
        full_reservation=draw(st.sampled_from([None, True, False])),
        prefix_cache=prefix_cache,
        host_seconds=draw(st.sampled_from([0.0, 0.003])),
        kv_bytes_per_token=1e3,
        layers=draw(st.sampled_from([1, 7])),
        link_bytes_per_second=draw(st.sampled_from([1e5, 1e7])),
    )
    base = replace(base, kv_tokens=max(base.kv_tokens, 128))
    machines = tuple(
        replace(base, role=role, pool=i, table=draw(st.integers(0, 1)), kv_tokens=base.kv_tokens + 32 * (i % 2))
        for i, role in enumerate(roles)
    )
    strict = set(roles) == {"prefill", "decode"}
    kind = draw(st.sampled_from(["none", "mixed-pool", "hysteresis"])) if strict else "none"
    cluster = Cluster(
        machines,
        (table(1.0), table(1.7)),
        prefill_dispatch=draw(st.sampled_from(DISPATCHES)),
        decode_dispatch=draw(st.sampled_from([rule for rule in DISPATCHES if rule != "prefix"])),
        transfer=Transfer(draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from([0.0, 0.002]))),
        reallocation=Reallocation(kind, draw(st.sampled_from([20, 200])), 0.0517, 0.05, 0.01, 0.5, 0.2),
    )
    return cluster, draw(requests(prefix_cache and draw(st.booleans())))


def naive(cluster: Cluster, work: Requests) -> NaiveCluster:
    """The naive cluster with the same machines, before it has served anything."""
    rows = new_state(cluster, work, Limits(), 0).machines
    rates = [(float(row["prefill_seconds_per_token"]), float(row["decode_seconds_per_token"])) for row in rows]
    reserved = [
        RESERVES_OUTPUT[machine.policy] if machine.full_reservation is None else machine.full_reservation
        for machine in cluster.machines
    ]
    unit = work.prefix_block_tokens
    columns = zip(work.arrival_seconds.tolist(), work.input_tokens.tolist(), work.output_tokens.tolist(), strict=True)
    described = [
        (arrival, prompt, output, _whole_units(work.prefix_of(i).tolist(), prompt, unit))
        for i, (arrival, prompt, output) in enumerate(columns)
    ]
    return NaiveCluster(cluster, [naive_seconds(1.0), naive_seconds(1.7)], reserved, described, unit, rates)


def _whole_units(hashes: Sequence[int], prompt: int, unit: int) -> list[int]:
    return list(hashes[: prompt // unit]) if unit else []

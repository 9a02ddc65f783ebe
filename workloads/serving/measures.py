"""What users of a cluster see, what it delivers, costs and draws: numbers from what happened to each request."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from uarch.arrays import FloatArray
from uarch.chip_file import load_chip
from uarch.energy.static_power import idle_board_watts
from uarch.silicon.cost import hardware_cost_usd
from uarch.silicon.tdp import tdp_watts
from workloads.serving.loop.records import FIRST_GAP_SECONDS, GAP_RATIO, StructArray
from workloads.serving.lowering import LoweredCluster
from workloads.serving.simulation import Served

PERCENTILES = (50, 90, 99)
_REFERENCE_CHIPS = 8
_SIGMAS = 4


@dataclass(frozen=True)
class Spread:
    """A distribution in four numbers."""

    mean: float | None
    """None, as the others, where nothing was measured."""
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True)
class Measures:
    """A cluster under its load; the keys of ``uarch cluster run --json``."""

    outcome: str
    """``complete``, or why requests were left: ``time limit``, ``gave up``, ``stuck``."""
    keeps_up: bool
    """Whether prefills kept pace with arrivals in the second half of the load."""
    requests: int
    finished: int
    ttft_seconds: Spread
    """From the arrival to the first token."""
    tbt_seconds: Spread
    """Between two tokens of a request, over all tokens."""
    tpot_seconds: Spread
    """Mean of a request's tokens after the first, over requests."""
    e2e_seconds: Spread
    """From the arrival to the last token."""
    queue_seconds: Spread
    """From the arrival to the start of the first step."""
    transfer_seconds: Spread
    """From the end of a prefill to its KV cache's arrival where it is decoded."""
    duration_seconds: float
    """From the first arrival to the last token."""
    requests_per_second: float
    output_tokens_per_second: float
    goodput_requests_per_second: float
    """Requests that meet the goals."""
    slo_attainment: float
    """Their share of all requests."""
    machines: int
    chips: int
    cost_normalised: float
    """Hardware of all machines over that of a machine of eight reference chips."""
    tdp_watts: float
    kv_tokens_capacity: list[int]
    """Tokens that the KV memory of a replica holds, pool by pool."""
    kv_peak_share: list[float]
    """Largest share of the KV memory in use on the fullest replica, pool by pool."""
    busy_share: list[float]
    """Share of the time in which a replica has a step under way, mean of each pool."""
    energy_joules: float
    """Energy of all chips at the board, hosts not included: steps, and idle power between them."""
    energy_per_token_joules: float | None
    """Energy over generated tokens."""
    mean_watts: float
    preemptions: int
    cached_share: float
    """Share of prompt tokens that prefix caches had."""
    role_changes: int


def spread(values: FloatArray) -> Spread:
    """Return mean and percentiles (linear between ranks)."""
    if not len(values):
        return Spread(None, None, None, None)
    return Spread(float(values.mean()), *map(float, np.percentile(values, PERCENTILES)))


def measure(cluster: LoweredCluster, served: Served) -> Measures:
    """Return the measures of a run."""
    sequences, requests, file = served.sequences, served.requests, cluster.file
    finished = sequences["generated_tokens"] == sequences["output_tokens"]
    begun = sequences["first_token_seconds"] >= 0
    admitted = sequences["admitted_seconds"] >= 0
    moved = sequences["transfer_seconds"] >= 0
    arrival, first, last = (sequences[f"{name}_seconds"] for name in ("arrival", "first_token", "last_token"))
    ttft, tpot = first - arrival, (last - first) / np.maximum(sequences["output_tokens"] - 1, 1)
    good = finished & (ttft <= file.slo.ttft_seconds) & (tpot <= file.slo.tpot_seconds)
    several = finished & (sequences["output_tokens"] > 1)
    duration = max(served.end_seconds - float(arrival[0]), 1e-12)
    tokens = int(sequences["generated_tokens"].sum())
    joules = energy_joules(cluster, served)
    return Measures(
        outcome=served.outcome,
        keeps_up=keeps_up(served),
        requests=len(requests),
        finished=int(finished.sum()),
        ttft_seconds=spread(ttft[begun]),
        tbt_seconds=gap_spread(served),
        tpot_seconds=spread(tpot[several]),
        e2e_seconds=spread((last - arrival)[finished]),
        queue_seconds=spread((sequences["admitted_seconds"] - arrival)[admitted]),
        transfer_seconds=spread(sequences["transfer_seconds"][moved]),
        duration_seconds=duration,
        requests_per_second=int(finished.sum()) / duration,
        output_tokens_per_second=tokens / duration,
        goodput_requests_per_second=int(good.sum()) / duration,
        slo_attainment=float(good.mean()),
        machines=sum(part.pool.machines for part in cluster.pools),
        chips=sum(part.pool.machines * part.pool.chips_per_machine for part in cluster.pools),
        cost_normalised=_cost_normalised(cluster),
        tdp_watts=sum(
            part.pool.machines * part.pool.chips_per_machine * tdp_watts(part.chip) for part in cluster.pools
        ),
        kv_tokens_capacity=[part.kv_tokens for part in cluster.pools],
        kv_peak_share=[float((pool["peak_blocks"] / pool["kv_blocks"]).max()) for pool in _pools(served)],
        busy_share=[float(pool["busy_seconds"].mean()) / duration for pool in _pools(served)],
        energy_joules=joules,
        energy_per_token_joules=joules / tokens if tokens else None,
        mean_watts=joules / duration,
        preemptions=int(served.machines["preemptions"].sum()),
        cached_share=float(sequences["cached_tokens"].sum() / requests.input_tokens.sum()),
        role_changes=int(served.machines["role_changes"].sum()),
    )


def gap_spread(served: Served) -> Spread:
    """Return the distribution of the times between tokens; percentiles to 0.25 %, the mean exactly."""
    cumulative = np.cumsum(served.gaps)
    if not cumulative[-1]:
        return Spread(None, None, None, None)
    bins = np.searchsorted(cumulative, np.array(PERCENTILES) / 100 * cumulative[-1])
    return Spread(
        served.gap_seconds_total / int(cumulative[-1]), *map(float, FIRST_GAP_SECONDS * GAP_RATIO ** (bins + 0.5))
    )


def keeps_up(served: Served) -> bool:
    """Whether, in the second half of the load, first tokens kept pace with arrivals but for what chance makes.

    In the steady state as many requests begin to answer as arrive; a deficit of more than four standard deviations of a
    Poisson count, and as long a queue at the end, say that the queue grows with time.
    """
    if served.outcome not in ("complete", "time limit"):
        return False
    arrival, first = served.sequences["arrival_seconds"], served.sequences["first_token_seconds"]
    end = min(float(arrival[-1]), served.end_seconds)
    middle = (float(arrival[0]) + end) / 2
    arrived = int(((arrival > middle) & (arrival <= end)).sum())
    answered = int(((first > middle) & (first <= end)).sum())
    waiting = int(((arrival <= end) & ((first < 0) | (first > end))).sum())
    noise = _SIGMAS * sqrt(max(arrived, 1))
    return not (arrived - answered > noise and waiting > noise)


def energy_joules(cluster: LoweredCluster, served: Served) -> float:
    """Return the energy of all chips from the first arrival to the end: that of the steps, and idle power outside them."""
    duration = served.end_seconds - float(served.sequences["arrival_seconds"][0])
    total = 0.0
    for row in served.machines:
        part = cluster.pools[int(row["pool"])]
        chips = part.pool.tp * part.pool.ep * part.pool.pp
        computing = float(row["busy_seconds"] - row["steps"] * row["host_seconds"])
        total += float(row["step_joules_total"]) + chips * idle_board_watts(part.chip) * max(0.0, duration - computing)
    return total


def _cost_normalised(cluster: LoweredCluster) -> float:
    unit = _REFERENCE_CHIPS * hardware_cost_usd(load_chip(cluster.file.cost_reference))
    cost = sum(
        part.pool.machines * part.pool.chips_per_machine * hardware_cost_usd(part.chip) for part in cluster.pools
    )
    return cost / unit


def _pools(served: Served) -> list[StructArray]:
    """Return the rows of the replicas of each pool."""
    return [served.machines[served.machines["pool"] == pool] for pool in np.unique(served.machines["pool"])]

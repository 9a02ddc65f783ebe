"""From a cluster file to the plain description that the event loop takes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import check_matrix_datatype, datatype
from uarch.errors import InputError
from workloads.models.model import Model
from workloads.models.parallel import check_parallel
from workloads.models.presets import load_model
from workloads.requests.records import Requests
from workloads.serving.cluster_file import DECODE_ROLES, PREFILL_ROLES, ClusterFile, Pool
from workloads.serving.kv_capacity import EngineMemory, Replica, kv_tokens_capacity
from workloads.serving.policies.registry import TAKES_WHOLE_PROMPTS
from workloads.serving.simulation import Cluster, Limits, Machine, Reallocation, Transfer
from workloads.serving.step_times.csv_table import TableStepTimes
from workloads.serving.step_times.protocol import Extent, FunctionStepTimes, StepTimes, tabulate
from workloads.serving.step_times.roofline import RooflineStepTimes
from workloads.settings.stack import Stack, load_stack

ROOFLINE = "roofline"


@dataclass(frozen=True, eq=False)
class LoweredPool:
    """A pool with all that it names loaded."""

    pool: Pool
    chip: Chip
    kv_tokens: int
    """Tokens of KV cache of a replica."""
    times: StepTimes
    host_seconds: float


@dataclass(frozen=True, eq=False)
class LoweredCluster:
    """A cluster with all that it names loaded."""

    file: ClusterFile
    model: Model
    pools: tuple[LoweredPool, ...]


def load_parts(file: ClusterFile) -> LoweredCluster:
    """Load chips, model, stack and step times of a cluster file; ``InputError`` for whatever is unknown or does not fit."""
    check_matrix_datatype(file.dtype)
    model, stack = load_model(file.model), load_stack(file.stack)
    return LoweredCluster(file, model, tuple(_load_pool(file, pool, model, stack) for pool in file.pool))


def _load_pool(file: ClusterFile, pool: Pool, model: Model, stack: Stack) -> LoweredPool:
    chip = load_chip(pool.chip)
    check_parallel(model, pool.tp, pool.ep)
    bits = datatype(file.dtype).bits
    replica = Replica(pool.tp, pool.ep, pool.pp, bits, pool.max_sequences, pool.max_batched_tokens)
    engine = EngineMemory() if pool.memory_utilization is None else EngineMemory(pool.memory_utilization)
    kv_tokens = pool.kv_tokens or kv_tokens_capacity(chip, model, replica, engine)
    times = _step_times(pool.step_times or file.step_times)
    if times is None:
        times = RooflineStepTimes(chip, model, pool.tp, pool.ep, file.dtype, bits / 8, stack.launch_seconds)
    host = stack.step_host_seconds if pool.host_seconds is None else pool.host_seconds
    return LoweredPool(pool, chip, kv_tokens, times, host)


def _step_times(name: str) -> StepTimes | None:
    """Return what ``MODULE:FUNCTION`` or a CSV file says about steps; None for ``roofline``."""
    if name == ROOFLINE:
        return None
    module, colon, function = name.partition(":")
    if not colon or Path(name).exists():
        return TableStepTimes(Path(name))
    try:
        return FunctionStepTimes(getattr(import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise InputError(f"step_times = {name!r}: no such function: {error}") from error


def lower(cluster: LoweredCluster, requests: Requests) -> Cluster:
    """Return the machines (one a replica) and tables that serve these requests."""
    file, model = cluster.file, cluster.model
    bits = datatype(file.dtype).bits
    machines: list[Machine] = []
    for number, part in enumerate(cluster.pools):
        pool = part.pool
        machine = Machine(
            role=pool.role,
            policy=pool.policy,
            kv_tokens=part.kv_tokens,
            table=number,
            pool=number,
            max_sequences=pool.max_sequences,
            max_batched_tokens=pool.max_batched_tokens,
            block_tokens=pool.block_tokens,
            full_reservation=None if pool.kv_reservation is None else pool.kv_reservation == "full",
            prefix_cache=pool.prefix_cache,
            host_seconds=part.host_seconds,
            kv_bytes_per_token=float(model.kv_bytes_per_token(bits)),
            layers=model.n_layers,
            link_bytes_per_second=file.transfer.bytes_per_second,
        )
        machines += [machine] * pool.replicas
    return Cluster(
        tuple(machines),
        tuple(tabulate(part.times, _extent(part, requests)) for part in cluster.pools),
        _dispatch(file, PREFILL_ROLES, "least-tokens"),
        _dispatch(file, DECODE_ROLES, "least-kv"),
        Transfer(file.transfer.mode == "layer-by-layer", file.transfer.link == "shared", file.transfer.latency_seconds),
        Reallocation(**file.reallocation.model_dump()),
    )


def _dispatch(file: ClusterFile, roles: tuple[str, ...], default: str) -> str:
    rules = [pool.dispatch for pool in file.pool if pool.role in roles and pool.dispatch is not None]
    return rules[0] if rules else default


def _extent(part: LoweredPool, requests: Requests) -> Extent:
    """Return how far the tables of a pool have to reach for these requests."""
    longest = int((requests.input_tokens + requests.output_tokens).max())
    tokens = part.pool.max_batched_tokens
    if TAKES_WHOLE_PROMPTS[part.pool.policy]:
        tokens = max(tokens, longest)
    return Extent(part.pool.max_sequences, tokens + part.pool.max_sequences, longest)


def limits_of(file: ClusterFile) -> Limits:
    """Return when a run of the cluster file stops before all is served."""
    return Limits() if file.limits.end_seconds is None else Limits(file.limits.end_seconds)

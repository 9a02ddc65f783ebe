"""The schema of a cluster file: machines, scheduler, links, goals and the requests that they serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section, TomlArray, Whole
from workloads.requests.source import RequestSource

CLUSTERS = Presets("cluster", Path(__file__).parent / "clusters")
"""Clusters that come with the package."""

Count = Annotated[Whole, Field(ge=1, le=1 << 20)]
Tokens = Annotated[Whole, Field(ge=1, le=1 << 40)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Policy = Literal["vllm-v1", "sarathi", "orca", "splitwise"]
Dispatch = Literal["round-robin", "least-requests", "least-tokens", "least-kv", "least-time", "prefix"]
Role = Literal["both", "prefill", "decode", "mixed"]

PREFILL_ROLES = ("both", "prefill", "mixed")
"""Roles of pools whose ``dispatch`` is for requests that arrive."""
DECODE_ROLES = ("decode",)
"""Roles of pools whose ``dispatch`` is for prefilled requests."""


class Pool(Section):
    """Machines of one kind with one task; a machine holds as many replicas of the model as its chips allow."""

    role: Role = "both"
    """What it does: all of a request, its prefill, its decode, or (``mixed``) either phase of different requests."""
    chip: Text
    """Preset or file of a chip."""
    machines: Count
    chips_per_machine: Count = 8
    tp: Count = 1
    ep: Count = 1
    pp: Count = 1
    policy: Policy = "vllm-v1"
    """Scheduler of a replica: see :mod:`workloads.serving.policies`."""
    max_sequences: Count = 256
    """Requests that a replica computes at the same time."""
    max_batched_tokens: Count = 2048
    """New tokens of a step; a policy that does not divide prompts computes a larger one alone."""
    kv_tokens: Tokens | None = None
    """Tokens of KV cache of a replica; left out: what a serving engine finds room for."""
    memory_utilization: Share | None = None
    """Share of device memory that is the engine's, with ``kv_tokens`` left out; 0.9 if not given."""
    block_tokens: Count = 16
    """Tokens of a KV block."""
    kv_reservation: Literal["paged", "full"] | None = None
    """Blocks when they are needed, or for the whole output from the start; left out: as the policy does."""
    prefix_cache: bool = False
    dispatch: Dispatch | None = None
    """How the pool's replicas are chosen; left out: ``least-tokens`` for arriving requests, ``least-kv`` for decodes."""
    host_seconds: Annotated[float, Field(ge=0, le=1)] | None = None
    """Host time between two steps; left out: the stack's."""
    step_times: Text | None = None
    """``roofline``, a CSV file of measured steps, or a Python function as ``MODULE:FUNCTION``; left out: as the cluster."""

    @model_validator(mode="after")
    def _check(self) -> Pool:
        if self.chips_per_machine % (self.tp * self.ep * self.pp):
            raise ValueError(
                f"chips_per_machine = {self.chips_per_machine} must be a multiple of tp x ep x pp, "
                f"{self.tp * self.ep * self.pp}"
            )
        return self

    @property
    def replicas(self) -> int:
        """Copies of the model in all machines of the pool."""
        return self.machines * self.chips_per_machine // (self.tp * self.ep * self.pp)


class TransferSection(Section):
    """How KV caches go from a prefill to a decode machine."""

    mode: Literal["at-once", "layer-by-layer"] = "at-once"
    """After the prefill, or during it as layers are done."""
    link: Literal["private", "shared"] = "shared"
    """Whether each cache has the bandwidth for itself, or those of a replica share it in each direction."""
    bytes_per_second: Positive = 50e9
    """Bytes a second of a replica's network; eight 400 Gb/s adapters of a server of eight chips have 400e9."""
    latency_seconds: Seconds = 0.0


class ReallocationSection(Section):
    """Machines that change their role; see :mod:`workloads.serving.loop.reallocation`."""

    kind: Literal["none", "mixed-pool", "hysteresis"] = "none"
    threshold_tokens: Tokens = 8192
    """Prompt tokens pending above which the mixed pool helps."""
    interval_seconds: Positive = 1.0
    high_seconds: Positive = 2.0
    low_seconds: Positive = 0.5
    high_occupancy: Share = 0.9
    low_occupancy: Share = 0.6


class Slo(Section):
    """What a request must meet to count for goodput."""

    ttft_seconds: Positive = 1e9
    """Time to the first token."""
    tpot_seconds: Positive = 1e9
    """Mean time of a later token."""


class LimitsSection(Section):
    """When to stop before all requests are served."""

    end_seconds: Positive | None = None


def _as_table(value: Any) -> Any:
    """Take the name of a request file for the table that has it."""
    return {"file": value} if isinstance(value, str) else value


class ClusterFile(Section):
    """A cluster and its load: the contents of ``clusters/*.toml`` and of a user's file."""

    description: str = ""
    model: Text
    """Preset or ``config.json``."""
    dtype: Text = "fp16"
    """Datatype of weights, activations and KV cache."""
    stack: Text = "graph"
    """Preset or file of a software stack."""
    step_times: Text = "roofline"
    """``roofline``, a CSV file of measured steps, or a Python function as ``MODULE:FUNCTION``."""
    requests: Annotated[RequestSource, BeforeValidator(_as_table)]
    """A request file, or a table: see :class:`workloads.requests.source.RequestSource`."""
    seed: Annotated[Whole, Field(ge=0, lt=1 << 63)] = 0
    cost_reference: Text = "h100"
    """Chip whose machine of eight is the unit of cost."""
    pool: TomlArray[Pool]
    """Machines, kind by kind; at least one."""
    transfer: TransferSection = TransferSection()
    reallocation: ReallocationSection = ReallocationSection()
    slo: Slo = Slo()
    limits: LimitsSection = LimitsSection()

    @model_validator(mode="after")
    def _check(self) -> ClusterFile:
        if not self.pool:
            raise ValueError("must have at least one [[pool]]")
        for phase, roles in (("prefills", PREFILL_ROLES), ("decodes", DECODE_ROLES)):
            rules = {pool.dispatch for pool in self.pool if pool.role in roles and pool.dispatch is not None}
            if len(rules) > 1:
                raise ValueError(
                    f"must have one dispatch for all pools that take {phase}, not {', '.join(sorted(rules))}"
                )
        return self


def load_cluster(name_or_path: str) -> ClusterFile:
    """Load a shipped cluster or a TOML file of the same layout.

    ``InputError`` for an unknown cluster, an unreadable or malformed file, and fields that are wrong, missing or unknown.
    """
    return validate(ClusterFile, read_toml(CLUSTERS.find(name_or_path)), f"cluster {name_or_path}")

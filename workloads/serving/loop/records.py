"""State of a cluster in plain arrays: one row a request, one row a machine, queues as linked lists.

A *machine* here is one scheduler with the chips that it commands (a replica of the model); a server with several replicas has
several. A *unit* is the piece of a prompt that the prefix cache knows by a hash: one or more KV blocks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from uarch.arrays import FloatArray, IntArray
from uarch.jit import constant
from workloads.serving.loop.event_heap import EventHeap
from workloads.serving.step_times.step_grid import StepGrid

StructArray = npt.NDArray[Any]

NOBODY = constant(-1)
"""End of a linked list, or a machine that is not chosen yet."""

# Where a request is.
UNBORN, WAITING, RUNNING, HELD, MOVING, FINISHED = map(constant, range(6))
"""HELD: prefilled, its KV cache still where that was done; MOVING: on its way to the machine that decodes it."""

# What a machine may be given.
BOTH, PREFILL, DECODE, MIXED = map(constant, range(4))
ROLES = ("both", "prefill", "decode", "mixed")
"""``both``: each request is prefilled and decoded by one machine; ``mixed``: takes prefills and decodes of different ones."""

# How a run of the event loop ended.
COMPLETE, OUT_OF_TIME, STUCK, GAVE_UP = map(constant, range(4))
OUTCOMES = ("complete", "time limit", "stuck", "gave up")

SEQUENCE_DTYPE = np.dtype(
    [
        ("arrival_seconds", np.float64),
        ("input_tokens", np.int64),
        ("output_tokens", np.int64),
        ("computed_tokens", np.int64),  # in the KV cache of its machine
        ("generated_tokens", np.int64),
        ("scheduled_tokens", np.int64),  # new tokens that it computes in its machine's present step
        ("blocks", np.int64),  # KV blocks of its own
        ("arriving_blocks", np.int64),  # kept for it by the machine that its KV cache is moving to
        ("cached_tokens", np.int64),  # found in prefix caches, all admissions together
        ("admitted_seconds", np.float64),  # start of its first step
        ("first_token_seconds", np.float64),
        ("last_token_seconds", np.float64),  # of its newest token; of a finished request: when it was finished
        ("longest_gap_seconds", np.float64),  # between two tokens
        ("transfer_seconds", np.float64),  # from the end of its prefill to its KV cache's arrival
        ("state", np.int64),
        ("machine", np.int64),  # where its KV cache is, or where it waits
        ("prefill_machine", np.int64),
        ("decode_machine", np.int64),
        ("shared_units", np.int64),  # units of its prompt that it holds through the prefix cache
        ("skips", np.int64),  # steps that left it out
        ("preemptions", np.int64),
        ("next", np.int64),  # in the list that it is in
    ],
    align=True,
)
"""One row a request, in order of arrival."""

MACHINE_DTYPE = np.dtype(
    [
        # Given.
        ("pool", np.int64),
        ("home_role", np.int64),
        ("policy", np.int64),
        ("table", np.int64),  # of the step times
        ("max_sequences", np.int64),
        ("max_batched_tokens", np.int64),
        ("block_tokens", np.int64),
        ("kv_blocks", np.int64),
        ("unit_tokens", np.int64),
        ("full_reservation", np.int64),  # a request's whole output has its blocks from the start
        ("prefix_cache", np.int64),
        ("host_seconds", np.float64),  # between two steps
        ("kv_bytes_per_token", np.float64),  # of all chips
        ("layers", np.int64),
        ("link_bytes_per_second", np.float64),
        ("prefill_seconds_per_token", np.float64),  # a rough measure, for dispatch by expected time
        ("decode_seconds_per_token", np.float64),
        # The scheduler's state.
        ("role", np.int64),
        ("running", np.int64),  # sequences of the list ``State.running``
        ("inbound", np.int64),  # sequences whose KV cache is on its way here
        ("waiting", np.int64),
        ("waiting_first", np.int64),
        ("waiting_last", np.int64),
        ("preempted", np.int64),  # of those that wait: had been running
        ("expected_first", np.int64),  # list of sequences that want to be decoded here and are held elsewhere
        ("expected_last", np.int64),
        ("held", np.int64),  # sequences here that want to be decoded elsewhere
        ("in_step", np.int64),  # 1 while a step or run is under way
        ("dirty", np.int64),  # has to be looked at
        ("single_step", np.int64),  # the next step may be composed otherwise although nothing happens
        ("free_blocks", np.int64),  # nobody refers to them; those of idle units included
        ("idle_units", np.int64),
        ("oldest_idle", np.int64),  # slots of the prefix cache
        ("newest_idle", np.int64),
        ("free_slot", np.int64),
        ("first_slot", np.int64),
        ("first_bucket", np.int64),
        ("buckets", np.int64),  # a power of two, or 0 without a prefix cache
        # The step or run under way.
        ("run_start_seconds", np.float64),
        ("run_end_seconds", np.float64),
        ("run_steps", np.int64),
        ("run_decodes", np.int64),  # sequences of a run of decodes
        ("run_context", np.float64),  # mean, of the first step
        ("run_is_decode", np.int64),
        ("step_joules", np.float64),  # of a step that is no run of decodes
        # Load as dispatch sees it.
        ("assigned", np.int64),  # unfinished requests
        ("pending_prompt_tokens", np.int64),  # still to be prefilled
        ("pending_output_tokens", np.int64),  # still to be generated, at the last boundary that was looked at
        ("assigned_kv_tokens", np.int64),  # prompts and generated tokens of requests that are or will be here
        ("reserved_tokens", np.int64),  # prompts and whole outputs of requests that are decoded here
        ("send_free_seconds", np.float64),
        ("receive_free_seconds", np.float64),
        # Accounts.
        ("steps", np.int64),
        ("busy_seconds", np.float64),
        ("step_joules_total", np.float64),
        ("prefilled_tokens", np.int64),
        ("decoded_tokens", np.int64),
        ("preemptions", np.int64),
        ("peak_blocks", np.int64),
        ("received_bytes", np.float64),
        ("role_changes", np.int64),
    ],
    align=True,
)
"""One row a machine."""

CLUSTER_DTYPE = np.dtype(
    [
        # Given.
        ("prefill_dispatch", np.int64),
        ("decode_dispatch", np.int64),
        ("reallocation", np.int64),
        ("layerwise_transfer", np.int64),
        ("shared_links", np.int64),
        ("transfer_latency_seconds", np.float64),
        ("end_seconds", np.float64),
        ("threshold_tokens", np.int64),  # of the mixed pool
        ("interval_seconds", np.float64),  # of online reallocation
        ("high_seconds", np.float64),
        ("low_seconds", np.float64),
        ("high_occupancy", np.float64),
        ("low_occupancy", np.float64),
        ("sample_seconds", np.float64),
        ("allowed_late", np.int64),  # requests past their limits before the run is given up; -1: any number
        # State.
        ("now_seconds", np.float64),
        ("arrived", np.int64),
        ("finished", np.int64),
        ("late", np.int64),
        ("dirty", np.int64),
        ("prefill_turn", np.int64),
        ("decode_turn", np.int64),
        ("samples", np.int64),
        ("events", np.int64),
        ("gap_seconds_total", np.float64),
        ("gaps_total", np.int64),
        ("outcome", np.int64),
    ],
    align=True,
)
"""One row: what concerns all machines."""

SLOT_DTYPE = np.dtype(
    [("key", np.int64), ("references", np.int64), ("older", np.int64), ("newer", np.int64)], align=True
)
"""A unit in a prefix cache; ``older`` and ``newer`` link those that nobody refers to, ``newer`` also the free slots."""

SAMPLE_DTYPE = np.dtype(
    [
        ("running", np.int64),
        ("waiting", np.int64),
        ("used_blocks", np.int64),
        ("role", np.int64),
    ],
    align=True,
)
"""State of a machine at one time of the time series."""

GAP_BINS = 5200
FIRST_GAP_SECONDS = 1e-7
GAP_RATIO = 1.005
"""Bins of the histogram of gaps between tokens: from 0.1 us to 4.5 hours, each 0.5 % wide."""


class State(NamedTuple):
    """Everything that the event loop reads and writes."""

    cluster: StructArray
    """``(1,)`` of ``CLUSTER_DTYPE``."""
    machines: StructArray
    """``(M,)`` of ``MACHINE_DTYPE``."""
    sequences: StructArray
    """``(R,)`` of ``SEQUENCE_DTYPE``."""
    running: IntArray
    """``(M, S)``: requests that are being computed, in order of admission."""
    dirty: IntArray
    """``(M,)``: machines that have to be looked at before time goes on."""
    grid: StepGrid
    heap: EventHeap
    """Items: machines, then one for each request's transfer, the sampler, the reallocation."""
    prefix_blocks: IntArray
    prefix_starts: IntArray
    slots: StructArray
    """Prefix caches of all machines, of ``SLOT_DTYPE``."""
    buckets: IntArray
    """Their hash tables: slot + 1, 0 for none."""
    gaps: IntArray
    """``(GAP_BINS,)``: tokens by the time since the one before of the same request."""
    sample_times: FloatArray
    samples: StructArray
    """``(times, M)`` of ``SAMPLE_DTYPE``."""
    limits: FloatArray
    """``(R, 2)``: seconds to the first token, and mean seconds of a later one, that a request should not exceed."""

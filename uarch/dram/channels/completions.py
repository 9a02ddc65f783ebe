"""Reads that are under way, in order of completion: a binary heap (jitted)."""

from __future__ import annotations

import numpy as np

from uarch.jit import inline
from uarch.program.records import StructArray
from uarch.wake_tree import NEVER

COMPLETION = np.dtype([("time_ps", np.int64), ("fetch", np.int64)])


def open_completions(n_fetches: int) -> StructArray:
    """An empty heap, from index 1 on; its size is ``completions[0]["fetch"]``."""
    completions = np.empty(n_fetches + 2, COMPLETION)
    completions[0] = (NEVER, 0)
    return completions


@inline
def first_completion(heap: StructArray) -> int:
    """Time of the next completion, or NEVER."""
    return int(heap[1]["time_ps"]) if heap[0]["fetch"] > 0 else NEVER


@inline
def push_completion(heap: StructArray, time_ps: int, fetch: int) -> None:
    """Read ``fetch`` completes at a time."""
    hole = heap[0]["fetch"] + 1
    heap[0]["fetch"] = hole
    while hole > 1 and heap[hole // 2]["time_ps"] > time_ps:
        heap[hole]["time_ps"], heap[hole]["fetch"] = heap[hole // 2]["time_ps"], heap[hole // 2]["fetch"]
        hole //= 2
    heap[hole]["time_ps"], heap[hole]["fetch"] = time_ps, fetch


@inline
def take_completion(heap: StructArray) -> int:
    """Number of the read that completes next, which is taken off the heap."""
    fetch = heap[1]["fetch"]
    size = heap[0]["fetch"]
    time_ps, moved = heap[size]["time_ps"], heap[size]["fetch"]
    size -= 1
    heap[0]["fetch"] = size
    hole, child = 1, 2
    while child <= size:
        if child < size and heap[child + 1]["time_ps"] < heap[child]["time_ps"]:
            child += 1
        if heap[child]["time_ps"] >= time_ps:
            break
        heap[hole]["time_ps"], heap[hole]["fetch"] = heap[child]["time_ps"], heap[child]["fetch"]
        hole, child = child, 2 * child
    heap[hole]["time_ps"], heap[hole]["fetch"] = time_ps, moved
    return int(fetch)

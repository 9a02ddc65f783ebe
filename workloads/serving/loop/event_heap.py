"""Pending events of numbered items, the earliest first: a binary heap in which an item's time can be changed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uarch.arrays import FloatArray, IntArray
from uarch.jit import inline

NEVER = np.inf
_NOWHERE = -1


class EventHeap(NamedTuple):
    """At most one event for each item; equal times are ordered by item."""

    items: IntArray
    """Items in heap order; entries from ``size[0]`` on mean nothing."""
    places: IntArray
    """Index of an item in ``items``; -1 if it has no event."""
    seconds: FloatArray
    """Time of an item's event."""
    size: IntArray
    """``(1,)``: events that are pending."""


def new_event_heap(n_items: int) -> EventHeap:
    """Return a heap of ``n_items`` items without events."""
    return EventHeap(
        np.zeros(n_items, np.int64),
        np.full(n_items, _NOWHERE, np.int64),
        np.full(n_items, NEVER),
        np.zeros(1, np.int64),
    )


@inline
def earliest_seconds(heap: EventHeap) -> float:
    """Time of the earliest event; infinite if there is none."""
    return heap.seconds[heap.items[0]] if heap.size[0] > 0 else NEVER


@inline
def set_event(heap: EventHeap, item: int, seconds: float) -> None:
    """Let the item's event happen at ``seconds``, whether or not it has one already."""
    place = heap.places[item]
    if place == _NOWHERE:
        place = heap.size[0]
        heap.size[0] += 1
    heap.seconds[item] = seconds
    place = _rise(heap, item, place)
    _sink(heap, item, place)


@inline
def pop_event(heap: EventHeap) -> int:
    """Remove the earliest event, which must exist, and return its item."""
    item = heap.items[0]
    heap.places[item] = _NOWHERE
    heap.size[0] -= 1
    if heap.size[0] > 0:
        _sink(heap, heap.items[heap.size[0]], 0)
    return item


@inline
def _before(heap: EventHeap, one: int, other: int) -> bool:
    if heap.seconds[one] != heap.seconds[other]:
        return heap.seconds[one] < heap.seconds[other]
    return one < other


@inline
def _rise(heap: EventHeap, item: int, place: int) -> int:
    """Put an item at ``place`` or above, where the heap's order wants it; return where."""
    while place > 0 and _before(heap, item, heap.items[(place - 1) // 2]):
        heap.items[place] = heap.items[(place - 1) // 2]
        heap.places[heap.items[place]] = place
        place = (place - 1) // 2
    heap.items[place] = item
    heap.places[item] = place
    return place


@inline
def _sink(heap: EventHeap, item: int, place: int) -> None:
    """Put an item at ``place`` or below."""
    size = heap.size[0]
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _before(heap, heap.items[child + 1], heap.items[child]):
            child += 1
        if not _before(heap, heap.items[child], item):
            break
        heap.items[place] = heap.items[child]
        heap.places[heap.items[place]] = place
        place = child
    heap.items[place] = item
    heap.places[item] = place

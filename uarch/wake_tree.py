"""The earliest of n times, kept as a tournament tree: contexts of a core and channels of a memory sleep in it.

Setting a time and finding the earliest sleeper take log2(n) steps each.
"""

from __future__ import annotations

import numpy as np

from uarch.arrays import IntArray
from uarch.jit import inline

NEVER = 2**62
"""Wake time (ps) of a sleeper that nothing wakes."""


def new_wake_tree(n: int) -> IntArray:
    """Tournament tree of ``n`` sleepers: leaves are wake times, the root (index 1) is the earliest."""
    leaves = 1 << max(1, (n - 1).bit_length())
    return np.full(2 * leaves, NEVER, np.int64)


@inline
def set_wake(tree: IntArray, c: int, time_ps: int) -> None:
    """Sleeper ``c`` is to be looked at next at ``time_ps``."""
    node = len(tree) // 2 + c
    tree[node] = time_ps
    node //= 2
    while node > 0:
        earliest = min(tree[2 * node], tree[2 * node + 1])
        if tree[node] == earliest:
            break
        tree[node] = earliest
        node //= 2


@inline
def earliest_sleeper(tree: IntArray) -> int:
    """Index of the sleeper with the earliest wake time, the lowest among equals."""
    leaves = len(tree) // 2
    node = 1
    while node < leaves:
        node = 2 * node if tree[2 * node] == tree[node] else 2 * node + 1
    return node - leaves

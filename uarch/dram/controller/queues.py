"""Lists of waiting requests by bank, and which banks have a candidate for which command (jitted)."""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.dram.controller.constraints import bank_ready
from uarch.dram.controller.state import (
    B_ACCESSES,
    B_ACTIVE,
    B_BIT,
    B_HEAD,
    B_HIT,
    B_HIT_WRITES,
    B_NEEDS_ROW,
    B_ROW,
    B_TAIL,
    BOUNDS,
    COMPLETION,
    E_NEXT,
    E_PREVIOUS,
    E_ROW,
    E_SEQUENCE,
    FCFS,
    FREE_ENTRY,
    FRFCFS_ROWHIT,
    HIT,
    HIT_TO_WRITES,
    K_ACT,
    K_HIT,
    K_PRE,
    K_UNUSED,
    LOG,
    NONE,
    O_CAP,
    O_CLOSED_PAGE,
    O_SCHEDULER,
    READS_WAITING,
    ROW_NEEDED,
    ROW_TO_WRITES,
    UNUSED,
)
from uarch.jit import inline


@inline
def set_member(state: IntArray, banks: int, bank: int, wanted: bool) -> None:
    """Put ``bank`` into the set of banks at place ``banks``, or take it out."""
    bit = state[bank + B_BIT]
    state[banks] = state[banks] | bit if wanted else state[banks] & ~bit


@inline
def lower_bound(state: IntArray, kind: int, bank: int) -> None:
    """A candidate of a kind may be ready as soon as its bank is."""
    state[BOUNDS + kind] = min(state[BOUNDS + kind], bank_ready(state, bank, kind & 3))


@inline
def classify(state: IntArray, bank: int) -> None:
    """Update the sets and bounds for one bank from its row and lists."""
    row = state[bank + B_ROW]
    is_idle = state[bank + B_ACTIVE] < 0
    for direction in range(2):
        hit, without_row = state[bank + B_HIT + direction], state[bank + B_NEEDS_ROW + direction]
        set_member(state, HIT + direction, bank, hit >= 0)
        if hit >= 0:
            lower_bound(state, K_HIT + HIT_TO_WRITES * direction, bank)
        # A row is kept open for an older hit, if row hits are preferred, and for the request that opened it.
        wanted = is_idle and without_row >= 0
        if wanted and hit >= 0 and state[O_SCHEDULER] == FRFCFS_ROWHIT:
            wanted = state[hit + E_SEQUENCE] > state[without_row + E_SEQUENCE]
        set_member(state, ROW_NEEDED + direction, bank, wanted)
        if wanted:
            lower_bound(state, (K_ACT if row < 0 else K_PRE) + ROW_TO_WRITES * direction, bank)
    if state[O_CLOSED_PAGE]:
        is_unused = row >= 0 and is_idle and state[bank + B_HIT] < 0 and state[bank + B_HIT_WRITES] < 0
        set_member(state, UNUSED, bank, is_unused)
        if is_unused:
            lower_bound(state, K_UNUSED, bank)


@inline
def sort_requests(state: IntArray, bank: int) -> None:
    """Find the bank's oldest hits and requests without a row anew, after a row was opened, closed or used up."""
    row = state[bank + B_ROW]
    accepts_hits = row >= 0 and state[bank + B_ACCESSES] < state[O_CAP]
    for direction in range(2):
        hit, without_row = NONE, NONE
        entry = state[bank + B_HEAD + direction]
        while entry >= 0 and (without_row < 0 or (hit < 0 and accepts_hits)):
            if accepts_hits and state[entry + E_ROW] == row:
                hit = entry if hit < 0 else hit
            elif without_row < 0:
                without_row = entry
            entry = state[entry + E_NEXT]
        state[bank + B_HIT + direction] = hit
        state[bank + B_NEEDS_ROW + direction] = without_row


@inline
def append_entry(state: IntArray, bank: int, direction: int) -> int:
    """Take a free entry and put it at the end of the bank's list; returns its place."""
    entry = state[FREE_ENTRY]
    state[FREE_ENTRY] = state[entry + E_NEXT]
    tail = state[bank + B_TAIL + direction]
    state[entry + E_NEXT] = NONE
    state[entry + E_PREVIOUS] = tail
    if tail >= 0:
        state[tail + E_NEXT] = entry
    else:
        state[bank + B_HEAD + direction] = entry
    state[bank + B_TAIL + direction] = entry
    state[READS_WAITING + direction] += 1
    return int(entry)


@inline
def note_newest(state: IntArray, bank: int, direction: int, entry: int) -> None:
    """The newest request of a bank's list is its candidate for a command if there is none yet."""
    is_hit = state[bank + B_ROW] == state[entry + E_ROW] and state[bank + B_ACCESSES] < state[O_CAP]
    first_of = bank + direction + (B_HIT if is_hit else B_NEEDS_ROW)
    if state[first_of] < 0:
        state[first_of] = entry
        classify(state, bank)


@inline
def unlink_entry(state: IntArray, bank: int, direction: int, entry: int) -> None:
    """Take an entry out of its list; it stays allocated. With FCFS another request may go first now."""
    after, before = state[entry + E_NEXT], state[entry + E_PREVIOUS]
    if before >= 0:
        state[before + E_NEXT] = after
    else:
        state[bank + B_HEAD + direction] = after
    if after >= 0:
        state[after + E_PREVIOUS] = before
    else:
        state[bank + B_TAIL + direction] = before
    state[READS_WAITING + direction] -= 1
    if state[O_SCHEDULER] == FCFS:
        for kind in range(8):
            state[BOUNDS + kind] = 0


@inline
def complete(state: IntArray, tag: int, tick: int) -> None:
    """Note the completion of a request, if the channel has a place for its tag."""
    if tag < state[LOG] - state[COMPLETION]:
        state[state[COMPLETION] + tag] = tick

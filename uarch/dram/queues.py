"""Lists of waiting requests by bank, and which banks have a candidate for which command (jitted)."""

from __future__ import annotations

from uarch.dram.options import MAX_BANKS
from uarch.dram.state import (
    B_ACCESSES,
    B_ACTIVE,
    B_CONFLICT,
    B_HEAD,
    B_HIT,
    B_HIT_WRITES,
    B_POSITION,
    B_ROW,
    B_TAIL,
    COMPLETION,
    E_NEXT,
    E_PREVIOUS,
    E_ROW,
    FREE_ENTRY,
    K_ACT,
    K_CLOSE,
    K_COLUMN,
    K_PRE,
    LOG,
    MEMBERS,
    NONE,
    O_CAP,
    O_CLOSED_PAGE,
    READS_WAITING,
    SIZES,
    SIZES_CHANGED,
    IntArray,
)
from uarch.jit import inline


@inline
def set_member(state: IntArray, kind: int, bank: int, wanted: bool) -> None:
    """Put ``bank`` into the set of banks with a candidate of ``kind``, or take it out."""
    position = state[bank + B_POSITION + kind]
    if wanted == (position >= 0):
        return
    if wanted:
        end = state[SIZES + kind]
        state[MEMBERS + kind * MAX_BANKS + end] = bank
        state[bank + B_POSITION + kind] = end
        state[SIZES + kind] = end + 1
    else:
        end = state[SIZES + kind] - 1
        last = state[MEMBERS + kind * MAX_BANKS + end]
        state[MEMBERS + kind * MAX_BANKS + position] = last
        state[last + B_POSITION + kind] = position
        state[bank + B_POSITION + kind] = NONE
        state[SIZES + kind] = end


@inline
def classify(state: IntArray, bank: int) -> None:
    """Update the sets for one bank from its row and lists."""
    is_open = state[bank + B_ROW] >= 0
    may_close = is_open and state[bank + B_ACTIVE] < 0
    for direction in range(2):
        set_member(state, K_ACT + direction, bank, not is_open and state[bank + B_HEAD + direction] >= 0)
        set_member(state, K_COLUMN + direction, bank, state[bank + B_HIT + direction] >= 0)
        set_member(state, K_PRE + direction, bank, may_close and state[bank + B_CONFLICT + direction] >= 0)
    if state[O_CLOSED_PAGE]:
        set_member(state, K_CLOSE, bank, may_close and state[bank + B_HIT] < 0 and state[bank + B_HIT_WRITES] < 0)


@inline
def row_changed(state: IntArray, bank: int) -> None:
    """Find hits and conflicts anew, after a row was opened, closed or used up, or the bank's active request left."""
    row = state[bank + B_ROW]
    accepts_hits = row >= 0 and state[bank + B_ACCESSES] < state[O_CAP]
    for direction in range(2):
        hit, conflict = NONE, NONE
        entry = state[bank + B_HEAD + direction] if row >= 0 else NONE
        while entry >= 0 and (hit < 0 or conflict < 0):
            if accepts_hits and state[entry + E_ROW] == row:
                hit = entry if hit < 0 else hit
            elif conflict < 0:
                conflict = entry
            entry = state[entry + E_NEXT]
        state[bank + B_HIT + direction] = hit
        state[bank + B_CONFLICT + direction] = conflict
    classify(state, bank)


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
    state[SIZES_CHANGED] = 1
    return int(entry)


@inline
def unlink_entry(state: IntArray, bank: int, direction: int, entry: int) -> None:
    """Take an entry out of its list; it stays allocated."""
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
    state[SIZES_CHANGED] = 1


@inline
def complete(state: IntArray, tag: int, tick: int) -> None:
    """Note the completion of a request, if the channel has a place for its tag."""
    if tag < state[LOG] - state[COMPLETION]:
        state[state[COMPLETION] + tag] = tick

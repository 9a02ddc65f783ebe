"""The FR-FCFS controller of one channel, event by event (jitted): ``enqueue``, ``next_event``, ``step``, ``advance``.

Rules, found by comparison with Ramulator 2.1 (see the README): each tick may issue one column and one row command where
the standard has separate buses, one command otherwise. The oldest request whose next command is ready goes first. A
request that opens a row leaves its queue for the active set, which goes before all others and keeps its row open. A due
refresh stops everything but the active set. Writes are served in bursts between two watermarks.

``*_BOUND`` registers hold a tick before which no candidate of a kind can be ready, so that ticks without a decision
are skipped: every event lowers the bound of what it may make ready, a search that finds nothing raises it.

Numba compiles a function together with all that it calls, so each large function has one caller and one place there.
"""

from __future__ import annotations

from uarch.dram import timing as T  # noqa: N812
from uarch.dram.constraints import (
    activate_ready,
    after_column_command,
    after_row_command,
    column_ready,
    precharge_ready,
)
from uarch.dram.queues import append_entry, classify, row_changed, set_member, unlink_entry
from uarch.dram.state import (
    ACT,
    ACT_READY,
    ACTIVE_BOUND,
    B_ACCESSES,
    B_ACT_READY,
    B_ACTIVE,
    B_CONFLICT,
    B_CONFLICT_WRITES,
    B_HEAD,
    B_HEAD_WRITES,
    B_HIT,
    B_PRE_READY,
    B_READ_READY,
    B_REF_READY,
    B_ROW,
    B_WRITE_READY,
    BANK_FIELDS,
    BANKS_END,
    BOUND,
    COLUMN_BOUND,
    COLUMN_BUS_FREE,
    COMPLETION,
    CONFLICTS,
    E_COLUMN,
    E_NEXT,
    E_ROW,
    E_SEQUENCE,
    E_TAG,
    E_TOUCHED,
    E_WRITE,
    FCFS,
    FIRST_BANK,
    FORWARDED,
    FREE_ENTRY,
    FRFCFS_ROWHIT,
    HITS,
    K_ACT,
    K_ACTIVE,
    K_CLOSE,
    K_COLUMN,
    K_PRE,
    LAST_DATA,
    MAX_BANKS,
    MEMBERS,
    MISSES,
    NEVER,
    NEXT_REFRESH,
    NONE,
    NOW,
    O_CAP,
    O_CLOSED_PAGE,
    O_HIGH_PERCENT,
    O_LOW_PERCENT,
    O_READ_QUEUE,
    O_REFRESH,
    O_SCHEDULER,
    O_WRITE_QUEUE,
    OPEN_BANKS,
    OPEN_SINCE,
    OPEN_TICKS,
    PRE,
    PRE_ALL,
    PRE_READY,
    PRECHARGES,
    READ_READY,
    READS,
    READS_WAITING,
    REF_ALL,
    REF_BANK,
    REF_READY,
    REFPB_READY,
    REFRESH_ALL,
    REFRESH_BANK,
    REFRESH_BOUND,
    REFRESHES,
    REFRESHES_DUE,
    ROW_BOUND,
    ROW_BUS_FREE,
    ROW_SEQUENCE,
    SEQUENCE,
    SIZES,
    SIZES_CHANGED,
    WRITE_MODE,
    WRITES_WAITING,
    IntArray,
)
from uarch.jit import inline, kernel


@inline
def _oldest_sequence(state: IntArray, direction: int) -> int:
    """Sequence number of the oldest request of a queue, for FCFS; NONE if every request may go first."""
    if state[O_SCHEDULER] != FCFS:
        return NONE
    oldest = state[SEQUENCE]
    for bank in range(FIRST_BANK, state[BANKS_END], BANK_FIELDS):
        head = state[bank + B_HEAD + direction]
        if head >= 0:
            oldest = min(oldest, state[head + E_SEQUENCE])
    return int(oldest)


@inline
def _best_column(state: IntArray, now: int, first_kind: int, only: int) -> int:
    """Bank of the oldest active request (``first_kind`` is K_ACTIVE) or waiting hit that is ready, or NONE.

    ``state[BOUND]`` is the tick at which the first of them is ready.
    """
    best, best_sequence, bound = NONE, NEVER, NEVER
    active = first_kind == K_ACTIVE
    direction = first_kind - K_COLUMN
    for place in range(MEMBERS + first_kind * MAX_BANKS, MEMBERS + first_kind * MAX_BANKS + state[SIZES + first_kind]):
        bank = state[place]
        entry = state[bank + B_ACTIVE] if active else state[bank + B_HIT + direction]
        sequence = state[entry + E_SEQUENCE]
        if only < 0 or sequence == only:
            ready = column_ready(state, now, bank, state[entry + E_WRITE])
            bound = min(bound, ready)
            if ready <= now and sequence < best_sequence:
                best, best_sequence = bank, sequence
    state[BOUND] = bound
    return best


@inline
def _best_row(state: IntArray, now: int, direction: int, only: int) -> int:
    """Bank of the oldest request whose activate or precharge is ready, or NONE and a new bound.

    With closed pages, if no request is ready, the first bank whose row no waiting request hits.
    """
    best, best_sequence, bound = NONE, NEVER, NEVER
    hold = state[O_SCHEDULER] == FRFCFS_ROWHIT
    any_bank = max(state[ACT_READY], state[ROW_BUS_FREE])
    activates = state[SIZES + K_ACT + direction]
    if any_bank > now and activates > 0:
        bound = any_bank
        activates = 0
    first = MEMBERS + (K_ACT + direction) * MAX_BANKS
    for place in range(first, first + activates):
        bank = state[place]
        sequence = state[state[bank + B_HEAD + direction] + E_SEQUENCE]
        if only < 0 or sequence == only:
            ready = activate_ready(state, now, bank)
            bound = min(bound, ready)
            if ready <= now and sequence < best_sequence:
                best, best_sequence = bank, sequence
    first = MEMBERS + (K_PRE + direction) * MAX_BANKS
    for place in range(first, first + state[SIZES + K_PRE + direction]):
        bank = state[place]
        sequence = state[state[bank + B_CONFLICT + direction] + E_SEQUENCE]
        hit = state[bank + B_HIT + direction]
        is_held = hold and hit >= 0 and state[hit + E_SEQUENCE] < sequence
        if not is_held and (only < 0 or sequence == only):
            ready = precharge_ready(state, now, bank)
            bound = min(bound, ready)
            if ready <= now and sequence < best_sequence:
                best, best_sequence = bank, sequence
    if state[O_CLOSED_PAGE] and best < 0:
        first = MEMBERS + K_CLOSE * MAX_BANKS
        for place in range(first, first + state[SIZES + K_CLOSE]):
            ready = precharge_ready(state, now, state[place])
            bound = min(bound, ready)
            if ready <= now and (best < 0 or state[place] < best):
                best = state[place]
    state[ROW_BOUND] = bound
    state[ROW_SEQUENCE] = best_sequence
    return best


@inline
def _is_row_command_older(state: IntArray, now: int, column: int, direction: int) -> bool:
    """True if a request older than the waiting hit of bank ``column`` has its activate or precharge ready."""
    if now < state[ROW_BOUND]:
        return False
    row = _best_row(state, now, direction, _oldest_sequence(state, direction))
    return bool(row >= 0 and state[ROW_SEQUENCE] < state[state[column + B_HIT + direction] + E_SEQUENCE])


@inline
def _row_command(state: IntArray, now: int, command: int, bank: int, direction: int) -> None:
    """Issue an activate (of the row of the bank's oldest request), a precharge or a refresh."""
    row = state[bank + B_ROW] if bank >= 0 else NONE
    if command == ACT:
        entry = state[bank + B_HEAD + direction]
        row = state[entry + E_ROW]
        state[MISSES] += 1 - state[entry + E_TOUCHED]
        state[entry + E_TOUCHED] = 1
        unlink_entry(state, bank, direction, entry)
        state[bank + B_ACCESSES] = 0
        state[bank + B_ACTIVE] = entry
        set_member(state, K_ACTIVE, bank, command == ACT)
        if state[OPEN_BANKS] == 0:
            state[OPEN_SINCE] = now
        state[OPEN_BANKS] += 1
    after_row_command(state, now, command, bank, row)
    if command == ACT:
        state[ACTIVE_BOUND] = min(state[ACTIVE_BOUND], column_ready(state, now, bank, state[entry + E_WRITE]))
    is_one = command in (ACT, PRE)
    if is_one or command == PRE_ALL:
        last = bank if is_one else state[BANKS_END] - BANK_FIELDS
        for changed in range(bank if is_one else FIRST_BANK, last + 1, BANK_FIELDS):
            if command == ACT:
                state[changed + B_ROW] = row
            elif state[changed + B_ROW] >= 0:
                state[changed + B_ROW] = NONE
                state[PRECHARGES] += 1
                state[OPEN_BANKS] -= 1
                if state[OPEN_BANKS] == 0:
                    state[OPEN_TICKS] += now - state[OPEN_SINCE]
            row_changed(state, changed)
    state[ROW_BOUND] = state[ROW_BUS_FREE]
    if command == ACT and state[bank + B_HIT + state[WRITE_MODE]] >= 0:
        state[COLUMN_BOUND] = min(state[COLUMN_BOUND], state[bank + B_READ_READY], state[bank + B_WRITE_READY])
    if state[O_SCHEDULER] == FCFS:
        state[COLUMN_BOUND] = now + 1


@inline
def _access(state: IntArray, now: int, bank: int, is_active: bool, direction: int) -> None:
    """Issue the read or write of the bank's active request, or of its oldest waiting hit."""
    if is_active:
        entry = state[bank + B_ACTIVE]
        state[bank + B_ACTIVE] = NONE
        set_member(state, K_ACTIVE, bank, not is_active)
    else:
        entry = state[bank + B_HIT + direction]
        following = state[entry + E_NEXT]
        while following >= 0 and state[following + E_ROW] != state[bank + B_ROW]:
            following = state[following + E_NEXT]
        state[bank + B_HIT + direction] = following
        unlink_entry(state, bank, direction, entry)
    state[HITS] += 1 - state[entry + E_TOUCHED]
    is_write = state[entry + E_WRITE]
    after_column_command(state, now, bank, is_write)
    state[READS + is_write] += 1
    if not is_write:
        state[LAST_DATA] = now + state[T.READ_LATENCY]
        state[state[COMPLETION] + state[entry + E_TAG]] = state[LAST_DATA]
    state[entry + E_NEXT] = state[FREE_ENTRY]
    state[FREE_ENTRY] = entry
    state[bank + B_ACCESSES] += 1
    if state[bank + B_ACCESSES] >= state[O_CAP]:
        row_changed(state, bank)
    else:
        classify(state, bank)
    channel_ready = state[READ_READY + state[WRITE_MODE]]
    state[COLUMN_BOUND] = max(state[COLUMN_BOUND], channel_ready, state[COLUMN_BUS_FREE])
    if state[bank + B_CONFLICT] >= 0 or state[bank + B_CONFLICT_WRITES] >= 0 or state[O_CLOSED_PAGE]:
        state[ROW_BOUND] = min(state[ROW_BOUND], max(state[bank + B_PRE_READY], now + 1))
    if is_active:
        state[ACTIVE_BOUND] = state[COLUMN_BUS_FREE] if state[SIZES + K_ACTIVE] > 0 else NEVER
        state[REFRESH_BOUND] = 0
    if state[O_SCHEDULER] == FCFS:
        state[COLUMN_BOUND] = now + 1
        state[ROW_BOUND] = now


@inline
def _refresh_command(state: IntArray, now: int) -> int:
    """The command that the due refresh needs, if it is ready; else NONE, and a new bound."""
    is_all = state[O_REFRESH] == REFRESH_ALL
    bank = state[REFRESH_BANK]
    ready = max(now, state[ROW_BUS_FREE])
    if is_all and state[OPEN_BANKS] > 0:
        command = PRE_ALL
        ready = max(ready, state[PRE_READY])
        if not state[T.PREAB_IGNORES_ROWS]:
            for other in range(FIRST_BANK, state[BANKS_END], BANK_FIELDS):
                ready = max(ready, state[other + B_PRE_READY])
        ready += ready & state[T.HALF_CLOCK]
        blocked = state[SIZES + K_ACTIVE] > 0
    elif not is_all and state[bank + B_ROW] >= 0:
        command = PRE
        ready = precharge_ready(state, now, bank)
        blocked = state[bank + B_ACTIVE] >= 0
    else:
        command = REF_ALL if is_all else REF_BANK
        ready = max(ready, state[REF_READY] if is_all else max(state[bank + B_REF_READY], state[REFPB_READY]))
        ready += (1 - ready) & state[T.HALF_CLOCK]
        blocked = False
    state[REFRESH_BOUND] = NEVER if blocked else ready
    return NONE if blocked or ready > now else command


@inline
def _refresh_issued(state: IntArray) -> None:
    """Count a refresh, and go on to the next bank."""
    state[REFRESHES] += 1
    state[REFRESHES_DUE] -= 1
    state[ROW_BOUND] = 0
    state[COLUMN_BOUND] = 0
    following = state[REFRESH_BANK] + BANK_FIELDS
    state[REFRESH_BANK] = following if following < state[BANKS_END] else FIRST_BANK


@inline
def _choose_mode(state: IntArray) -> int:
    """Switch between serving reads (0) and serving writes (1) if the watermarks say so."""
    percent = state[WRITES_WAITING] * 100
    reads = state[READS_WAITING]
    if state[WRITE_MODE]:
        change = percent < state[O_LOW_PERCENT] * state[O_WRITE_QUEUE] and reads != 0
    else:
        change = percent > state[O_HIGH_PERCENT] * state[O_WRITE_QUEUE] or reads == 0
    if change:
        state[WRITE_MODE] = 1 - state[WRITE_MODE]
        state[COLUMN_BOUND] = 0
        state[ROW_BOUND] = 0
    return int(state[WRITE_MODE])


@inline
def _command_for(state: IntArray, bank: int, direction: int) -> int:
    """Activate a closed bank; precharge an open one, for its oldest conflict or, with closed pages, for nobody."""
    if state[bank + B_ROW] < 0:
        return ACT
    conflict = state[bank + B_CONFLICT + direction]
    if conflict >= 0:
        state[CONFLICTS] += 1 - state[conflict + E_TOUCHED]
        state[conflict + E_TOUCHED] = 1
    return PRE


@kernel
def step(state: IntArray, now: int) -> None:
    """What the controller does at tick ``now``: a column command and a row command, or one of the two.

    ``now`` is later than the present tick and not later than :func:`next_event`, and becomes the present tick.
    """
    state[NOW] = now
    state[SIZES_CHANGED] = 0
    if now == state[NEXT_REFRESH]:
        state[REFRESHES_DUE] += 1
        state[NEXT_REFRESH] += state[T.REFRESH_INTERVAL + state[O_REFRESH] - REFRESH_ALL]
        state[REFRESH_BOUND] = 0
    separate = state[T.SEPARATE_BUSES] > 0
    refresh = state[REFRESHES_DUE] > 0
    active, column, row, command = NONE, NONE, NONE, NONE
    mode = state[WRITE_MODE]
    if now >= state[ACTIVE_BOUND]:
        active = _best_column(state, now, K_ACTIVE, NONE)
        state[ACTIVE_BOUND] = state[BOUND]
        column = active
    if column < 0 and not refresh:
        mode = _choose_mode(state)
        if now >= state[COLUMN_BOUND]:
            column = _best_column(state, now, K_COLUMN + mode, _oldest_sequence(state, mode))
            state[COLUMN_BOUND] = state[BOUND]
            if column >= 0 and not separate and _is_row_command_older(state, now, column, mode):
                column = NONE
    if column >= 0:
        _access(state, now, column, active >= 0, mode)
        if not separate:
            return
    row = NONE
    if refresh:
        if now >= state[REFRESH_BOUND]:
            command = _refresh_command(state, now)
            row = state[REFRESH_BANK] if state[O_REFRESH] != REFRESH_ALL else NONE
    else:
        mode = _choose_mode(state)
        if now >= state[ROW_BOUND]:
            row = _best_row(state, now, mode, _oldest_sequence(state, mode))
        if row >= 0:
            command = _command_for(state, row, mode)
    if command >= 0:
        _row_command(state, now, command, row, mode)
        if command in (REF_ALL, REF_BANK):
            _refresh_issued(state)


@kernel
def next_event(state: IntArray) -> int:
    """Tick, after the present one, at which the controller may do something; at most NEVER."""
    after = state[NOW] + 1
    if state[SIZES_CHANGED]:
        return int(after)
    event = min(state[NEXT_REFRESH], state[ACTIVE_BOUND])
    if state[REFRESHES_DUE] > 0:
        event = min(event, state[REFRESH_BOUND])
        return int(max(event, after))
    event = min(event, state[COLUMN_BOUND], state[ROW_BOUND])
    return int(max(event, after))


@kernel
def advance(state: IntArray, until: int, until_free: int) -> None:
    """Run up to and including tick ``until``; if ``until_free`` is 0 or 1, only until that queue has a free place.

    Queue 0 is that of reads, 1 that of writes; -1 means no such condition. The present tick is ``state[NOW]``.
    """
    while until_free < 0 or state[READS_WAITING + until_free] >= state[O_READ_QUEUE + until_free]:
        event = next_event(state)
        if event > until:
            state[NOW] = max(until, state[NOW])
            return
        step(state, event)


@kernel
def enqueue(state: IntArray, tag: int, is_write: int, bank_index: int, row: int, column: int) -> bool:
    """Offer a request at the present tick; the controller sees it from the next tick on.

    Returns False if its queue is full. Reads of what waits to be written are answered in one tick. The completion of
    ``tag`` becomes the tick of a read's last data when its command is issued; that of a write is the present tick.
    """
    bank = FIRST_BANK + bank_index * BANK_FIELDS
    direction = 1 if is_write else 0
    if direction == 0:
        waiting = state[bank + B_HEAD_WRITES]
        while waiting >= 0:
            if state[waiting + E_ROW] == row and state[waiting + E_COLUMN] == column:
                state[FORWARDED] += 1
                state[state[COMPLETION] + tag] = state[NOW] + 1
                return True
            waiting = state[waiting + E_NEXT]
    if state[READS_WAITING + direction] >= state[O_READ_QUEUE + direction]:
        return False
    entry = append_entry(state, bank, direction)
    state[entry + E_ROW] = row
    state[entry + E_COLUMN] = column
    state[entry + E_TAG] = tag
    state[entry + E_WRITE] = direction
    state[entry + E_SEQUENCE] = state[SEQUENCE]
    state[entry + E_TOUCHED] = 0
    state[SEQUENCE] += 1
    if direction:
        state[state[COMPLETION] + tag] = state[NOW]
    open_row = state[bank + B_ROW]
    is_hit = open_row == row and state[bank + B_ACCESSES] < state[O_CAP]
    if open_row < 0:
        is_new = state[bank + B_HEAD + direction] == entry
        if is_new:
            state[ROW_BOUND] = min(state[ROW_BOUND], max(state[bank + B_ACT_READY], state[ACT_READY]))
    else:
        first_of = bank + direction + (B_HIT if is_hit else B_CONFLICT)
        is_new = state[first_of] < 0
        if is_new:
            state[first_of] = entry
            if is_hit:
                state[COLUMN_BOUND] = min(state[COLUMN_BOUND], state[bank + B_READ_READY + direction])
            else:
                state[ROW_BOUND] = min(state[ROW_BOUND], state[bank + B_PRE_READY])
    if is_new:
        classify(state, bank)
    return True

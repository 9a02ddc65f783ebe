"""A standard's constraints in controller ticks, as one int64 array that kernels index by the names below.

A constraint of n clocks between two commands counts from the last tick of the first one to the last tick of the second
one: between the ticks at which they start lie n clocks, plus the first command's length, less the second's.

What a command delays is a table: for each command, three *scopes* (its bank, its bank group, all banks), and in each the
least distance to the next command of each kind. The time for which a command occupies its bus is one more such distance.
"""

from __future__ import annotations

import numpy as np

from uarch.arrays import IntArray
from uarch.dram.standards.standard import Standard

COMMANDS = ("ACT", "PRE", "RD", "WR", "REFab", "PREab", "REFpb")
ROW_COMMANDS = frozenset({"ACT", "PRE", "REFab", "PREab", "REFpb"})
NEXT_COMMANDS = 8
"""Places for the next command, by its number."""
SCOPES = ("bank", "group", "all")

TIMING = 64
"""Where the constants stand in a channel's state array."""
_NAMES = (
    "FOUR_ACTIVATES",
    "THIRTYTWO_ACTIVATES",
    "LAST_OF_ACTIVATE",
    "LAST_OF_REFRESH",
    "OTHER_STACK",
    "READ_LATENCY",
    "REFRESH_INTERVAL",
    "BANK_REFRESH_INTERVAL",
    "SEPARATE_BUSES",
    "HALF_CLOCK",
    "BANKS_PER_GROUP",
    "BANKS_PER_STACK",
)
(
    FOUR_ACTIVATES,
    THIRTYTWO_ACTIVATES,
    LAST_OF_ACTIVATE,
    LAST_OF_REFRESH,
    OTHER_STACK,
    READ_LATENCY,
    REFRESH_INTERVAL,
    BANK_REFRESH_INTERVAL,
    SEPARATE_BUSES,
    HALF_CLOCK,
    BANKS_PER_GROUP,
    BANKS_PER_STACK,
) = range(TIMING, TIMING + len(_NAMES))

ON_FIRST_HALF = 80
"""Place of a flag for each command: 1 if it starts on the first half of a clock (odd ticks), 0 on the second."""
DELAYS = 128
"""Place of the ticks from a command to the next one, ``(commands, scopes, NEXT_COMMANDS)`` of them; 0 means no limit."""
COMMAND_DELAYS = len(SCOPES) * NEXT_COMMANDS


def lower_timing(state: IntArray, standard: Standard, command_buses: bool = True) -> None:
    """Write a standard's constants, in ticks, to their places in ``state``; without buses, commands take no time on them.

    Without bank groups, the long distances hold within a bank.
    """
    timing, bus, organisation = standard.timing, standard.command_bus, standard.organisation
    per_clock = bus.ticks_per_clock
    column_clocks = -(-bus.column_ticks // per_clock)
    values = {
        "FOUR_ACTIVATES": timing.nFAW * per_clock,
        "THIRTYTWO_ACTIVATES": timing.n32AW * per_clock,
        "LAST_OF_ACTIVATE": bus.activate_ticks - 1,
        "LAST_OF_REFRESH": bus.precharge_ticks - 1,
        "OTHER_STACK": max(timing.nBL, timing.nCCD_S, timing.nCCD_R) * per_clock,
        "READ_LATENCY": (timing.nCL + timing.nBL + column_clocks - 1) * per_clock,
        "REFRESH_INTERVAL": timing.nREFI * per_clock,
        "BANK_REFRESH_INTERVAL": timing.nREFIpb * per_clock,
        "SEPARATE_BUSES": int(bus.separate_row_and_column),
        "HALF_CLOCK": per_clock - 1,
        "BANKS_PER_GROUP": organisation.banks_per_group if organisation.bank_groups > 1 else 1,
        "BANKS_PER_STACK": standard.banks // organisation.stack_ids,
    }
    state[TIMING : TIMING + len(_NAMES)] = [values[name] for name in _NAMES]
    state[ON_FIRST_HALF : ON_FIRST_HALF + len(COMMANDS)] = [command not in ("PRE", "PREab") for command in COMMANDS]
    delays = delays_in_ticks(standard, command_buses)
    state[DELAYS : DELAYS + delays.size] = delays.ravel()


def delays_in_ticks(standard: Standard, command_buses: bool = True) -> IntArray:
    """Least distance between the starts of two commands; shape ``(commands, scopes, NEXT_COMMANDS)`` int64."""
    bus = standard.command_bus
    length = dict.fromkeys(COMMANDS, bus.precharge_ticks) | {
        "ACT": bus.activate_ticks,
        "RD": bus.column_ticks,
        "WR": bus.column_ticks,
    }
    delays = np.zeros((len(COMMANDS), len(SCOPES), NEXT_COMMANDS), dtype=np.int64)
    for place, scope in enumerate(_clocks(standard)):
        for (first, second), clocks in scope.items():
            ticks = clocks * bus.ticks_per_clock + length[first] - length[second] if clocks else 0
            delays[COMMANDS.index(first), place, COMMANDS.index(second)] = ticks
    for i, first in enumerate(COMMANDS if command_buses else ()):
        for j, second in enumerate(COMMANDS):
            if not bus.separate_row_and_column or (first in ROW_COMMANDS) == (second in ROW_COMMANDS):
                delays[i, -1, j] = max(delays[i, -1, j], length[first])
    return delays


def _clocks(standard: Standard) -> tuple[dict[tuple[str, str], int], ...]:
    """Clocks between two commands, by scope; 0 means no limit."""
    timing = standard.timing
    write_data = timing.nCWL + timing.nBL
    ccd_s, ccd_l = max(timing.nBL, timing.nCCD_S), max(timing.nBL, timing.nCCD_L)
    bank = {
        ("ACT", "ACT"): timing.nRC,
        ("ACT", "PRE"): timing.nRAS,
        ("ACT", "RD"): timing.nRCDRD,
        ("ACT", "WR"): timing.nRCDWR,
        ("ACT", "REFpb"): timing.nRC,
        ("PRE", "ACT"): timing.nRP,
        ("PRE", "REFpb"): timing.nRP,
        ("RD", "PRE"): timing.nRTP,
        ("WR", "PRE"): write_data + timing.nWR,
        ("REFpb", "ACT"): timing.nRFCpb,
        ("REFpb", "REFpb"): timing.nRFCpb,
    }
    group = {
        ("ACT", "ACT"): timing.nRRD_L,
        ("RD", "RD"): ccd_l,
        ("WR", "WR"): ccd_l,
        ("WR", "RD"): write_data + timing.nWTR_L,
    }
    every = {
        ("ACT", "ACT"): timing.nRRD_S,
        ("ACT", "REFab"): timing.nRC,
        ("PRE", "PRE"): timing.nPPD,
        ("PRE", "PREab"): timing.nPPD,
        ("PRE", "REFab"): timing.nRP,
        ("RD", "RD"): ccd_s,
        ("RD", "WR"): timing.nRTW,
        ("WR", "WR"): ccd_s,
        ("WR", "RD"): write_data + timing.nWTR_S,
        ("PREab", "ACT"): timing.nRP,
        ("PREab", "REFab"): timing.nRP,
        ("REFab", "ACT"): timing.nRFCab,
        ("REFab", "REFab"): timing.nRFCab,
        ("REFpb", "REFpb"): timing.nRREFD,
    }
    if not standard.compatibility.precharge_all_ignores_open_rows:
        every |= {("ACT", "PREab"): timing.nRAS, ("RD", "PREab"): timing.nRTP, ("WR", "PREab"): bank["WR", "PRE"]}
    return bank, group, every

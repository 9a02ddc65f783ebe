"""A standard's constraints in controller ticks, as one int64 array that kernels index by the names below.

A constraint of n clocks between two commands counts from the last tick of the first one to the last tick of the second
one: between the ticks at which they start lie n clocks, plus the first command's length less 1, less the second's
length less 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uarch.dram.standards import Standard

TIMING = 64
"""Where the constants stand in a channel's state array."""

_NAMES = (
    "ACT_ACT_BANK",
    "ACT_ACT_GROUP",
    "ACT_ACT",
    "FOUR_ACTIVATES",
    "THIRTYTWO_ACTIVATES",
    "ACT_RD",
    "ACT_WR",
    "ACT_PRE",
    "ACT_REF",
    "PRE_ACT",
    "PRE_PRE",
    "PRE_REF",
    "RD_RD",
    "WR_RD",
    "RD_WR",
    "WR_WR",
    "RD_RD_GROUP",
    "WR_RD_GROUP",
    "RD_WR_GROUP",
    "WR_WR_GROUP",
    "RD_PRE",
    "WR_PRE",
    "RD_RD_STACK",
    "REF_ACT",
    "REF_REF",
    "REFPB_ACT_BANK",
    "REFPB_REFPB_BANK",
    "REFPB_REFPB",
    "ACT_TICKS",
    "PRE_TICKS",
    "COLUMN_TICKS",
    "READ_LATENCY",
    "REFRESH_INTERVAL",
    "BANK_REFRESH_INTERVAL",
    "SEPARATE_BUSES",
    "HALF_CLOCK",
    "PREAB_IGNORES_ROWS",
    "BANKS",
    "BANKS_PER_GROUP",
    "BANKS_PER_STACK",
)
(
    ACT_ACT_BANK,
    ACT_ACT_GROUP,
    ACT_ACT,
    FOUR_ACTIVATES,
    THIRTYTWO_ACTIVATES,
    ACT_RD,
    ACT_WR,
    ACT_PRE,
    ACT_REF,
    PRE_ACT,
    PRE_PRE,
    PRE_REF,
    RD_RD,
    WR_RD,
    RD_WR,
    WR_WR,
    RD_RD_GROUP,
    WR_RD_GROUP,
    RD_WR_GROUP,
    WR_WR_GROUP,
    RD_PRE,
    WR_PRE,
    RD_RD_STACK,
    REF_ACT,
    REF_REF,
    REFPB_ACT_BANK,
    REFPB_REFPB_BANK,
    REFPB_REFPB,
    ACT_TICKS,
    PRE_TICKS,
    COLUMN_TICKS,
    READ_LATENCY,
    REFRESH_INTERVAL,
    BANK_REFRESH_INTERVAL,
    SEPARATE_BUSES,
    HALF_CLOCK,
    PREAB_IGNORES_ROWS,
    BANKS,
    BANKS_PER_GROUP,
    BANKS_PER_STACK,
) = range(TIMING, TIMING + len(_NAMES))


def timing_in_ticks(standard: Standard) -> npt.NDArray[np.int64]:
    """Lower a standard to ticks, in the order of this module's constants from ``TIMING`` on; 0 means no limit.

    Without bank groups, the long distances hold within a bank.
    """
    timing, bus, organisation = standard.timing, standard.command_bus, standard.organisation
    per_clock = bus.ticks_per_clock
    act, pre, column = bus.activate_ticks - 1, bus.precharge_ticks - 1, bus.column_ticks - 1
    column_clocks = -(-bus.column_ticks // per_clock)
    write_to_precharge = timing.nCWL + timing.nBL + timing.nWR

    def distance(clocks: int, first: int, second: int) -> int:
        return clocks * per_clock + first - second if clocks else 0

    values = {
        "ACT_ACT_BANK": distance(timing.nRC, act, act),
        "ACT_ACT_GROUP": distance(timing.nRRD_L, act, act),
        "ACT_ACT": distance(timing.nRRD_S, act, act),
        "FOUR_ACTIVATES": distance(timing.nFAW, act, act),
        "THIRTYTWO_ACTIVATES": distance(timing.n32AW, act, act),
        "ACT_RD": distance(timing.nRCDRD, act, column),
        "ACT_WR": distance(timing.nRCDWR, act, column),
        "ACT_PRE": distance(timing.nRAS, act, pre),
        "ACT_REF": distance(timing.nRC, act, pre),
        "PRE_ACT": distance(timing.nRP, pre, act),
        "PRE_PRE": distance(timing.nPPD, pre, pre),
        "PRE_REF": distance(timing.nRP, pre, pre),
        "RD_RD_GROUP": distance(max(timing.nBL, timing.nCCD_L), column, column),
        "RD_RD": distance(max(timing.nBL, timing.nCCD_S), column, column),
        "RD_RD_STACK": distance(max(timing.nBL, timing.nCCD_S, timing.nCCD_R), column, column),
        "RD_WR": distance(timing.nRTW, column, column),
        "RD_PRE": distance(timing.nRTP, column, pre),
        "RD_WR_GROUP": distance(timing.nRTW, column, column),
        "WR_WR_GROUP": distance(max(timing.nBL, timing.nCCD_L), column, column),
        "WR_WR": distance(max(timing.nBL, timing.nCCD_S), column, column),
        "WR_RD_GROUP": distance(timing.nCWL + timing.nBL + timing.nWTR_L, column, column),
        "WR_RD": distance(timing.nCWL + timing.nBL + timing.nWTR_S, column, column),
        "WR_PRE": distance(write_to_precharge, column, pre),
        "REF_ACT": distance(timing.nRFCab, pre, act),
        "REF_REF": distance(timing.nRFCab, pre, pre),
        "REFPB_ACT_BANK": distance(timing.nRFCpb, pre, act),
        "REFPB_REFPB_BANK": distance(timing.nRFCpb, pre, pre),
        "REFPB_REFPB": distance(timing.nRREFD, pre, pre),
        "ACT_TICKS": bus.activate_ticks,
        "PRE_TICKS": bus.precharge_ticks,
        "COLUMN_TICKS": bus.column_ticks,
        "READ_LATENCY": (timing.nCL + timing.nBL + column_clocks - 1) * per_clock,
        "REFRESH_INTERVAL": timing.nREFI * per_clock,
        "BANK_REFRESH_INTERVAL": timing.nREFIpb * per_clock,
        "SEPARATE_BUSES": int(bus.separate_row_and_column),
        "HALF_CLOCK": per_clock - 1,
        "PREAB_IGNORES_ROWS": int(standard.compatibility.precharge_all_ignores_open_rows),
        "BANKS": standard.banks,
        "BANKS_PER_GROUP": organisation.banks_per_group if organisation.bank_groups > 1 else 1,
        "BANKS_PER_STACK": standard.banks // organisation.stack_ids,
    }
    return np.array([values[name] for name in _NAMES], dtype=np.int64)

"""Energy of a channel from its commands and the standard's currents.

Each command costs what it draws above standby, as in Micron's power model (TN-41-01) and DRAMsim3: an activate and its
precharge ``VDD (IDD0 tRC - IDD3N tRAS - IDD2N (tRC - tRAS))``, a read or write ``VDD (IDD4 - IDD3N) tBL``, a refresh
``VDD (IDD5AB - IDD3N) tRFC``. Standby is ``VDD IDD3N`` while a row is open and ``VDD IDD2N`` while none is.
"""

from __future__ import annotations

from typing import NamedTuple

from uarch.dram.standards.standard import Standard


class CommandEnergy(NamedTuple):
    """Picojoules of one command, and picojoules of standby by nanosecond (milliwatts)."""

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_all_pj: float
    refresh_bank_pj: float
    io_pj: float
    """Energy of the pins for one burst, in pJ."""
    active_standby_pj_per_ns: float
    precharge_standby_pj_per_ns: float


class ChannelEnergy(NamedTuple):
    """Joules of one channel over a run."""

    activate: float
    read: float
    write: float
    refresh: float
    active_standby: float
    precharge_standby: float
    io: float

    @property
    def total(self) -> float:
        """Sum of all components."""
        return sum(self)


def command_energy(standard: Standard) -> CommandEnergy:
    """Energy of commands and power of standby of a standard; the refresh of one bank is its share of that of all."""
    current, timing = standard.current, standard.timing
    clock_ns = standard.tCK_ps / 1000
    closed = timing.nRC - timing.nRAS
    activate = current.IDD0 * timing.nRC - current.IDD3N * timing.nRAS - current.IDD2N * closed
    refresh = current.VDD * (current.IDD5AB - current.IDD3N) * timing.nRFCab * clock_ns
    return CommandEnergy(
        activate_pj=current.VDD * activate * clock_ns,
        read_pj=current.VDD * (current.IDD4R - current.IDD3N) * timing.nBL * clock_ns,
        write_pj=current.VDD * (current.IDD4W - current.IDD3N) * timing.nBL * clock_ns,
        refresh_all_pj=refresh,
        refresh_bank_pj=refresh / standard.banks,
        io_pj=current.io_pj_per_bit * standard.burst_bytes * 8,
        active_standby_pj_per_ns=current.VDD * current.IDD3N,
        precharge_standby_pj_per_ns=current.VDD * current.IDD2N,
    )


def channel_energy(
    standard: Standard,
    *,
    activates: int,
    reads: int,
    writes: int,
    refreshes: int,
    refresh_by_bank: bool,
    open_ticks: int,
    closed_ticks: int,
) -> ChannelEnergy:
    """Energy of the counted commands and of standby with a row open and with none, in ticks of the standard."""
    cost = command_energy(standard)
    refresh_pj = cost.refresh_bank_pj if refresh_by_bank else cost.refresh_all_pj
    return ChannelEnergy(
        activate=activates * cost.activate_pj * 1e-12,
        read=reads * cost.read_pj * 1e-12,
        write=writes * cost.write_pj * 1e-12,
        refresh=refreshes * refresh_pj * 1e-12,
        active_standby=open_ticks * standard.tick_ns * cost.active_standby_pj_per_ns * 1e-12,
        precharge_standby=closed_ticks * standard.tick_ns * cost.precharge_standby_pj_per_ns * 1e-12,
        io=(reads + writes) * cost.io_pj * 1e-12,
    )

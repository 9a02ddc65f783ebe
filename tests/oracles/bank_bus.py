"""The bank-and-bus DRAM model in plain Python: one object a unit, one refresh at a time, a list instead of a heap."""

from __future__ import annotations

from dataclasses import dataclass, field

from uarch.dram.bank_bus import WRITE_BUFFER_CHUNKS, BankBusTiming, unit_of
from uarch.program import GRANULE_BYTES
from uarch.rates import duration_ps


@dataclass
class Bank:
    """A bank and its row buffer."""

    open_row: int | None = None
    activate_ps: int = 0
    column_ps: int = 0


@dataclass
class Unit:
    """A channel, or channels that act together."""

    next_refresh_ps: int
    banks: list[Bank]
    bus_free_ps: int = 0
    writes: list[tuple[int, int]] = field(default_factory=list)
    """Address and bytes of what is buffered."""


class NaiveBankBus:
    """Serves reads and writes in the order of the calls, whose times must not decrease."""

    def __init__(self, timing: BankBusTiming) -> None:
        self.timing = timing
        self.units = [
            Unit((i + 1) * timing.refresh_interval_ps // timing.units, [Bank() for _ in range(timing.banks)])
            for i in range(timing.units)
        ]
        self.completions: dict[int, int] = {}
        """Number of a read -> time of its completion."""
        self.row_hits = self.row_misses = self.refreshes = self.bus_ps = 0

    def read(self, number: int, address: int, size_bytes: int, now_ps: int) -> None:
        """Complete when the last chunk has come through."""
        ends = [self._transfer(*chunk, now_ps) for chunk in self._chunks(address, size_bytes)]
        self.completions[number] = max(ends) + self.timing.latency_ps

    def write(self, address: int, size_bytes: int, now_ps: int) -> None:
        """Into the buffers of the units, which are drained when full."""
        for chunk_address, chunk_bytes in self._chunks(address, size_bytes):
            unit = self.units[unit_of(chunk_address, self.timing)]
            unit.writes.append((chunk_address, chunk_bytes))
            if len(unit.writes) == WRITE_BUFFER_CHUNKS:
                unit.bus_free_ps = max(unit.bus_free_ps, now_ps) + self.timing.turnaround_ps
                for buffered in unit.writes:
                    self._transfer(*buffered, now_ps)
                unit.bus_free_ps += self.timing.turnaround_ps
                unit.writes.clear()

    def _chunks(self, address: int, size_bytes: int) -> list[tuple[int, int]]:
        chunk_bytes = self.timing.chunk_bytes
        starts = range(0, size_bytes, chunk_bytes)
        return [(address + start, min(chunk_bytes, size_bytes - start)) for start in starts]

    def _transfer(self, address: int, size_bytes: int, now_ps: int) -> int:
        timing = self.timing
        unit = self.units[unit_of(address, timing)]
        while max(now_ps, unit.bus_free_ps) >= unit.next_refresh_ps:
            self._refresh(unit)
        row, bank = self.row_and_bank(unit, address)
        if bank.open_row == row:
            self.row_hits += 1
        else:
            self.row_misses += 1
            ready_ps = now_ps if bank.open_row is None else now_ps + timing.precharge_ps
            start_ps = max(ready_ps, bank.activate_ps)
            bank.open_row = row
            bank.activate_ps = start_ps + timing.row_cycle_ps
            bank.column_ps = start_ps + timing.row_to_column_ps
        busy_ps = duration_ps(size_bytes, timing.byte)
        self.bus_ps += busy_ps
        unit.bus_free_ps = max(now_ps, unit.bus_free_ps) + busy_ps
        return max(unit.bus_free_ps, max(now_ps, bank.column_ps) + timing.column_to_data_ps + busy_ps)

    def row_and_bank(self, unit: Unit, address: int) -> tuple[int, Bank]:
        """Row of an address, and the bank of its unit in which it lies."""
        pieces = GRANULE_BYTES // self.timing.chunk_bytes
        row = address // self.timing.row_span_bytes // max(1, self.timing.units // pieces)
        turn = ((row // self.timing.banks) * 2654435769 % 2**32) * self.timing.banks // 2**32
        return row, unit.banks[(row + turn) % self.timing.banks]

    def _refresh(self, unit: Unit) -> None:
        """Of all banks, which close their rows."""
        unit.bus_free_ps = max(unit.bus_free_ps, unit.next_refresh_ps) + self.timing.refresh_ps
        unit.next_refresh_ps += self.timing.refresh_interval_ps
        for bank in unit.banks:
            bank.open_row = None
            bank.activate_ps = max(bank.activate_ps, unit.bus_free_ps)
        self.refreshes += 1

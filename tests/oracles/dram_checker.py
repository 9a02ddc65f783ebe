"""Verify a command log: every timing constraint and every bank's state, straight from the standard's clocks.

Plain Python over the history of commands, independent of the controllers: what it accepts is what the standard allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from uarch.dram.standards.standard import Standard

ROW_COMMANDS = frozenset({"ACT", "PRE", "PREab", "REFab", "REFpb"})
_SECOND_HALF = frozenset({"PRE", "PREab"})
_ALL_BANKS = -1


class Rule(NamedTuple):
    """``second`` may start this many clocks after ``first`` (last tick to last tick) if their banks match ``scope``."""

    first: str
    second: str
    scope: str
    """``bank``, ``group`` (same one), ``channel`` (any two banks), ``stack`` (different stack IDs)."""
    clocks: int
    name: str


def rules(standard: Standard) -> list[Rule]:
    """All constraints between two commands."""
    t = standard.timing
    write_data = t.nCWL + t.nBL
    ccd = {"group": max(t.nBL, t.nCCD_L), "channel": max(t.nBL, t.nCCD_S)}
    found = [
        Rule("ACT", "ACT", "bank", t.nRC, "nRC"),
        Rule("ACT", "ACT", "group", t.nRRD_L, "nRRD_L"),
        Rule("ACT", "ACT", "channel", t.nRRD_S, "nRRD_S"),
        Rule("ACT", "RD", "bank", t.nRCDRD, "nRCDRD"),
        Rule("ACT", "WR", "bank", t.nRCDWR, "nRCDWR"),
        Rule("ACT", "PRE", "bank", t.nRAS, "nRAS"),
        Rule("RD", "PRE", "bank", t.nRTP, "nRTP"),
        Rule("WR", "PRE", "bank", write_data + t.nWR, "nWR"),
        Rule("PRE", "ACT", "bank", t.nRP, "nRP"),
        Rule("PREab", "ACT", "channel", t.nRP, "nRP"),
        Rule("PRE", "PRE", "channel", t.nPPD, "nPPD"),
        Rule("PRE", "PREab", "channel", t.nPPD, "nPPD"),
        Rule("RD", "RD", "group", ccd["group"], "nCCD_L"),
        Rule("WR", "WR", "group", ccd["group"], "nCCD_L"),
        Rule("RD", "RD", "channel", ccd["channel"], "nCCD_S"),
        Rule("WR", "WR", "channel", ccd["channel"], "nCCD_S"),
        Rule("RD", "RD", "stack", t.nCCD_R, "nCCD_R"),
        Rule("RD", "WR", "channel", t.nRTW, "nRTW"),
        Rule("WR", "RD", "group", write_data + t.nWTR_L, "nWTR_L"),
        Rule("WR", "RD", "channel", write_data + t.nWTR_S, "nWTR_S"),
        Rule("PRE", "REFab", "channel", t.nRP, "nRP"),
        Rule("PREab", "REFab", "channel", t.nRP, "nRP"),
        Rule("ACT", "REFab", "channel", t.nRC, "nRC"),
        Rule("REFab", "REFab", "channel", t.nRFCab, "nRFCab"),
        Rule("REFab", "ACT", "channel", t.nRFCab, "nRFCab"),
        Rule("PRE", "REFpb", "bank", t.nRP, "nRP"),
        Rule("ACT", "REFpb", "bank", t.nRC, "nRC"),
        Rule("REFpb", "ACT", "bank", t.nRFCpb, "nRFCpb"),
        Rule("REFpb", "REFpb", "bank", t.nRFCpb, "nRFCpb"),
        Rule("REFpb", "REFpb", "channel", t.nRREFD, "nRREFD"),
    ]
    if not standard.compatibility.precharge_all_ignores_open_rows:
        found += [
            Rule("ACT", "PREab", "channel", t.nRAS, "nRAS"),
            Rule("RD", "PREab", "channel", t.nRTP, "nRTP"),
            Rule("WR", "PREab", "channel", write_data + t.nWR, "nWR"),
        ]
    return [rule for rule in found if rule.clocks]


class CommandChecker:
    """The history of a channel, and what it forbids."""

    def __init__(self, standard: Standard) -> None:
        organisation, bus = standard.organisation, standard.command_bus
        self.standard = standard
        self.group_banks = organisation.banks_per_group if organisation.bank_groups > 1 else 1
        self.stack_banks = standard.banks // organisation.stack_ids
        self.stacks = organisation.stack_ids
        self.length = dict.fromkeys(ROW_COMMANDS, bus.precharge_ticks) | {
            "ACT": bus.activate_ticks,
            "RD": bus.column_ticks,
            "WR": bus.column_ticks,
        }
        self.rules: dict[str, list[Rule]] = {}
        for rule in rules(standard):
            self.rules.setdefault(rule.second, []).append(rule)
        self.last: dict[tuple[str, str, int], int] = {}
        """Last tick of a command in a scope: a bank, a group, a stack ID, the channel (number 0)."""
        self.activates: list[int] = []
        """Last ticks of the last activates and refreshes of a bank."""
        self.open_rows: dict[int, int] = {}
        self.bus_free = {"row": 0, "column": 0}

    def problem(self, tick: int, command: str, bank: int, row: int, ignore_bus: bool = False) -> str | None:
        """What forbids this command at this tick, or None. ``bank`` is -1 for commands to all banks."""
        reason = self._state_problem(command, bank, row) or self._window_problem(tick, command)
        if reason is None and not ignore_bus:
            reason = self._bus_problem(tick, command)
        return reason or self._rule_problem(tick, command, bank)

    def record(self, tick: int, command: str, bank: int, row: int) -> None:
        """Add a command to the history."""
        self.last[command, "channel", 0] = tick
        if bank != _ALL_BANKS:
            self.last[command, "bank", bank] = tick
            self.last[command, "group", bank // self.group_banks] = tick
            self.last[command, "stack", bank // self.stack_banks] = tick
        self.bus_free[self._bus(command)] = tick + self.length[command]
        if command == "ACT":
            self.open_rows[bank] = row
        elif command == "PRE":
            del self.open_rows[bank]
        elif command == "PREab":
            self.open_rows.clear()
        if command in ("ACT", "REFpb"):
            self.activates.append(tick + self.length[command] - 1)
            del self.activates[:-32]

    def _bus(self, command: str) -> str:
        separate = self.standard.command_bus.separate_row_and_column
        return "row" if command in ROW_COMMANDS or not separate else "column"

    def _state_problem(self, command: str, bank: int, row: int) -> str | None:
        if command == "REFab":
            return "a row is open" if self.open_rows else None
        if command == "PREab":
            return None
        opened = self.open_rows.get(bank)
        if command in ("ACT", "REFpb"):
            return None if opened is None else "the bank is open"
        if opened is None:
            return "the bank is closed"
        return "another row is open" if command in ("RD", "WR") and opened != row else None

    def _window_problem(self, tick: int, command: str) -> str | None:
        timing, per_clock = self.standard.timing, self.standard.command_bus.ticks_per_clock
        for count, clocks, name in ((4, timing.nFAW, "nFAW"), (32, timing.n32AW, "n32AW")):
            if command in ("ACT", "REFpb") and clocks and len(self.activates) >= count:
                earliest = self.activates[-count] + clocks * per_clock - (self.length[command] - 1)
                if tick < earliest:
                    return f"{name} allows it at {earliest}"
        return None

    def _bus_problem(self, tick: int, command: str) -> str | None:
        if tick < self.bus_free[self._bus(command)]:
            return "the command bus is occupied"
        on_second_half = tick % 2 == 0
        if self.standard.command_bus.ticks_per_clock == 2 and on_second_half != (command in _SECOND_HALF):
            return "it starts on the wrong half of a clock"
        return None

    def _rule_problem(self, tick: int, command: str, bank: int) -> str | None:
        per_clock = self.standard.command_bus.ticks_per_clock
        for rule in self.rules.get(command, ()):
            before = self._last_in(rule, bank)
            if before is not None:
                earliest = before + rule.clocks * per_clock + self.length[rule.first] - self.length[command]
                if tick < earliest:
                    return f"{rule.name} after {rule.first} allows it at {earliest}"
        return None

    def _last_in(self, rule: Rule, bank: int) -> int | None:
        """Last tick of the rule's first command in a bank that counts."""
        if rule.scope == "bank":
            return self.last.get((rule.first, "bank", bank))
        if rule.scope == "group":
            return self.last.get((rule.first, "group", bank // self.group_banks))
        if rule.scope == "channel":
            return self.last.get((rule.first, "channel", 0))
        own = bank // self.stack_banks
        others = (self.last.get((rule.first, "stack", stack)) for stack in range(self.stacks) if stack != own)
        return max((tick for tick in others if tick is not None), default=None)


def violations(standard: Standard, commands: Iterable[tuple[int, str, int, int]]) -> list[str]:
    """Check ``(tick, command, bank, row)`` in order of ticks; one line for each command that breaks a constraint."""
    checker = CommandChecker(standard)
    found = []
    for tick, command, bank, row in commands:
        reason = checker.problem(tick, command, bank, row)
        if reason is not None:
            found.append(f"{command} of bank {bank} at tick {tick}: {reason}")
        if command != "PRE" or bank in checker.open_rows:
            checker.record(tick, command, bank, row)
    return found

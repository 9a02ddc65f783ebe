"""A memory controller that looks at every request at every tick: slow, obvious, the oracle of the jitted ones.

Whether a command may be issued is asked of :class:`tests.oracles.dram_checker.CommandChecker`, which knows nothing of the
controllers; this module adds only the policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.oracles.dram_checker import CommandChecker
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.standards.standard import Standard

OFFERS_PER_TICK = 2


@dataclass
class Request:
    tag: int
    arrival: int
    is_write: bool
    bank: int
    row: int
    column: int
    accepted: int = -1
    completed: int = -1
    first_command: str | None = None

    @property
    def column_command(self) -> str:
        return "WR" if self.is_write else "RD"

    def same_place(self, other: Request) -> bool:
        return (self.bank, self.row, self.column) == (other.bank, other.row, other.column)


@dataclass
class NaiveController:
    """FR-FCFS, FR-FCFS with row hits held, or FCFS; one object is one run."""

    standard: Standard
    options: ControllerOptions
    reads: list[Request] = field(default_factory=list)
    writes: list[Request] = field(default_factory=list)
    active: list[Request] = field(default_factory=list)
    write_mode: bool = False
    refreshes_due: int = 0
    refresh_bank: int = 0
    tick: int = 0
    log: list[tuple[int, str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checker = CommandChecker(self.standard)
        self.accesses: dict[int, int] = {}
        timing, per_clock = self.standard.timing, self.standard.command_bus.ticks_per_clock
        self.interval = {"all": timing.nREFI, "bank": timing.nREFIpb, "none": 0}[self.options.refresh] * per_clock
        column_clocks = -(-self.standard.command_bus.column_ticks // per_clock)
        self.read_latency = (timing.nCL + timing.nBL + column_clocks - 1) * per_clock
        self.separate = self.standard.command_bus.separate_row_and_column

    def run(self, requests: list[Request]) -> None:
        """Offer the requests, two a tick, and stop when the last read has its data."""
        waiting = list(requests)
        while waiting or any(not request.is_write and request.completed < 0 for request in requests):
            for _ in range(OFFERS_PER_TICK):
                if waiting and waiting[0].arrival <= self.tick and self.offer(waiting[0]):
                    waiting.pop(0)
                else:
                    break
            self.tick += 1
            self.step()

    def offer(self, request: Request) -> bool:
        if not request.is_write and any(request.same_place(write) for write in self.writes):
            request.accepted, request.completed = self.tick, self.tick + 1
            return True
        queue = self.writes if request.is_write else self.reads
        if len(queue) >= self.options.queue:
            return False
        request.accepted = self.tick
        if request.is_write:
            request.completed = self.tick
        queue.append(request)
        return True

    def step(self) -> None:
        if self.interval and self.tick % self.interval == 0:
            self.refreshes_due += 1
        for bus in ("column", "row") if self.separate else ("any",):
            self.one_command(bus)

    def one_command(self, bus: str) -> None:
        if bus != "row":
            for request in sorted(self.active, key=lambda request: request.tag):
                if self.may_issue(request.column_command, request.bank, request.row):
                    self.active.remove(request)
                    self.access(request)
                    return
        if self.refreshes_due:
            if bus != "column":
                self.refresh()
            return
        self.choose_mode()
        queue = self.writes if self.write_mode else self.reads
        for request in queue:
            command = self.command_for(request)
            fits = bus == "any" or (bus == "column") == (command in ("RD", "WR"))
            eligible = self.options.scheduler != "fcfs" or request is queue[0]
            row = self.row_of(request, command)
            if (
                fits
                and eligible
                and not self.held(request, command, queue)
                and self.may_issue(command, request.bank, row)
            ):
                self.serve(request, command, queue)
                return
        if bus != "column" and self.options.page == "closed":
            self.close_unused_row()

    def choose_mode(self) -> None:
        used = 100 * len(self.writes)
        if self.write_mode:
            if used < self.options.write_low_percent * self.options.queue and self.reads:
                self.write_mode = False
        elif used > self.options.write_high_percent * self.options.queue or not self.reads:
            self.write_mode = True

    def is_hit(self, request: Request) -> bool:
        used_up = self.options.page == "capped" and self.accesses.get(request.bank, 0) >= self.options.row_hit_cap
        return self.checker.open_rows.get(request.bank) == request.row and not used_up

    def command_for(self, request: Request) -> str:
        if request.bank not in self.checker.open_rows:
            return "ACT"
        return request.column_command if self.is_hit(request) else "PRE"

    def row_of(self, request: Request, command: str) -> int:
        return self.checker.open_rows[request.bank] if command == "PRE" else request.row

    def held(self, request: Request, command: str, queue: list[Request]) -> bool:
        """A row stays open for the request that opened it, and, with row hits preferred, for older hits."""
        if command != "PRE":
            return False
        if any(other.bank == request.bank for other in self.active):
            return True
        older = queue[: queue.index(request)]
        hits = any(other.bank == request.bank and self.is_hit(other) for other in older)
        return self.options.scheduler == "frfcfs-rowhit" and hits

    def may_issue(self, command: str, bank: int, row: int) -> bool:
        return self.checker.problem(self.tick, command, bank, row) is None

    def issue(self, command: str, bank: int, row: int) -> None:
        self.checker.record(self.tick, command, bank, row)
        self.log.append((self.tick, command, bank, row))

    def serve(self, request: Request, command: str, queue: list[Request]) -> None:
        request.first_command = request.first_command or command
        if command in ("RD", "WR"):
            queue.remove(request)
            self.access(request)
            return
        self.issue(command, request.bank, self.row_of(request, command))
        if command == "ACT":
            self.accesses[request.bank] = 0
            queue.remove(request)
            self.active.append(request)

    def access(self, request: Request) -> None:
        request.first_command = request.first_command or request.column_command
        self.issue(request.column_command, request.bank, request.row)
        self.accesses[request.bank] += 1
        if not request.is_write:
            request.completed = self.tick + self.read_latency

    def refresh(self) -> None:
        rows = self.checker.open_rows
        if self.options.refresh == "all":
            command, bank, row = ("PREab", -1, -1) if rows else ("REFab", -1, -1)
            blocked = bool(rows and self.active)
        else:
            bank = self.refresh_bank
            command, row = ("PRE", rows[bank]) if bank in rows else ("REFpb", -1)
            blocked = any(request.bank == bank for request in self.active)
        if blocked or not self.may_issue(command, bank, row):
            return
        self.issue(command, bank, row)
        if command.startswith("REF"):
            self.refreshes_due -= 1
            self.refresh_bank = (self.refresh_bank + 1) % self.standard.banks

    def close_unused_row(self) -> None:
        for bank, row in sorted(self.checker.open_rows.items()):
            wanted = any(r.bank == bank and self.is_hit(r) for r in self.reads + self.writes)
            active = any(request.bank == bank for request in self.active)
            if not wanted and not active and self.may_issue("PRE", bank, row):
                self.issue("PRE", bank, row)
                return

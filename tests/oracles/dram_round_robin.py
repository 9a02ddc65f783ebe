"""The policy of DRAMsim3, tick by tick and list by list: the oracle of :mod:`uarch.dram.controller.dramsim3`."""

from __future__ import annotations

from tests.oracles.dram_checker import CommandChecker
from tests.oracles.dram_controller import OFFERS_PER_TICK, Request
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.standards.standard import Standard

COMMAND_QUEUE = 8


class NaiveRoundRobin:
    """One object is one run."""

    def __init__(self, standard: Standard, options: ControllerOptions) -> None:
        timing = standard.timing
        self.options = options
        self.checker = CommandChecker(standard)
        self.separate = standard.command_bus.separate_row_and_column
        self.banks = standard.banks
        self.interval = timing.nREFI if options.refresh == "all" else 0
        self.latency = timing.nCL + timing.nBL
        self.queues: list[list[Request]] = [[] for _ in range(self.banks)]
        self.reads: list[Request] = []
        self.writes: list[Request] = []
        self.followers: dict[int, list[Request]] = {}
        self.accesses = dict.fromkeys(range(self.banks), 0)
        self.draining = 0
        self.last_bank = 0
        self.refreshing = False
        self.tick = 0
        self.log: list[tuple[int, str, int, int]] = []

    def run(self, requests: list[Request]) -> None:
        waiting = list(requests)
        while waiting or any(request.completed < 0 for request in requests):
            self.tick += 1
            for _ in range(OFFERS_PER_TICK):
                if waiting and waiting[0].arrival <= self.tick and self.offer(waiting[0]):
                    waiting.pop(0)
                else:
                    break
            self.step()

    def pending(self, request: Request, is_write: bool) -> Request | None:
        everything = self.reads + self.writes + [entry for queue in self.queues for entry in queue]
        return next((e for e in everything if e.is_write == is_write and e.same_place(request)), None)

    def offer(self, request: Request) -> bool:
        queue = self.writes if request.is_write else self.reads
        if len(queue) >= self.options.queue:
            return False
        request.accepted = self.tick
        write, read = self.pending(request, True), self.pending(request, False)
        if request.is_write or write:
            request.completed = self.tick + 1
        if write:
            return True
        if read and not request.is_write:
            self.followers.setdefault(read.tag, []).append(request)
        else:
            queue.append(request)
        return True

    def step(self) -> None:
        if self.interval and self.tick % self.interval == 0:
            self.refreshing = True
        first = self.refresh() if self.refreshing else None
        first = first or self.next_command(None)
        if first and self.separate:
            self.next_command(first)
        self.fill()

    def may_issue(self, command: str, bank: int, row: int) -> bool:
        return self.checker.problem(self.tick, command, bank, row, ignore_bus=True) is None

    def issue(self, command: str, bank: int, row: int) -> None:
        self.checker.record(self.tick, command, bank, row)
        self.log.append((self.tick, command, bank, row))

    def refresh(self) -> str | None:
        for bank, row in sorted(self.checker.open_rows.items()):
            if self.may_issue("PRE", bank, row):
                self.issue("PRE", bank, row)
                return "PRE"
        if self.may_issue("REFab", -1, -1):
            self.issue("REFab", -1, -1)
            self.refreshing = False
            return "REFab"
        return None

    def next_command(self, first: str | None) -> str | None:
        if self.refreshing:
            return None
        for _ in range(self.banks):
            self.last_bank = (self.last_bank + 1) % self.banks
            queue = self.queues[self.last_bank]
            for request in queue:
                command = self.ready_command(request, queue)
                if command:
                    if first and (command in ("RD", "WR")) == (first in ("RD", "WR")):
                        return None
                    self.serve(request, command, queue)
                    return command
        return None

    def ready_command(self, request: Request, queue: list[Request]) -> str | None:
        opened = self.checker.open_rows.get(request.bank)
        command = "ACT" if opened is None else request.column_command if opened == request.row else "PRE"
        if command == "PRE":
            hits = any(other.row == opened for other in queue)
            if request is not queue[0] or (hits and self.accesses[request.bank] < 4):
                return None
        row = request.row if opened is None else opened
        return command if self.may_issue(command, request.bank, row) else None

    def serve(self, request: Request, command: str, queue: list[Request]) -> None:
        row = self.checker.open_rows[request.bank] if command == "PRE" else request.row
        self.issue(command, request.bank, row)
        if command == "ACT":
            self.accesses[request.bank] = 0
        elif command != "PRE":
            self.accesses[request.bank] += 1
            queue.remove(request)
            if command == "RD":
                for reader in (request, *self.followers.pop(request.tag, [])):
                    reader.completed = self.tick + self.latency

    def fill(self) -> None:
        if self.draining == 0:
            is_idle = not any(self.queues)
            if len(self.writes) >= self.options.queue or (len(self.writes) > 8 and is_idle):
                self.draining = len(self.writes)
        source = self.writes if self.draining else self.reads
        for request in source:
            if len(self.queues[request.bank]) < COMMAND_QUEUE:
                if request.is_write:
                    if self.pending(request, False):
                        self.draining = 0
                        return
                    self.draining -= 1
                source.remove(request)
                self.queues[request.bank].append(request)
                return

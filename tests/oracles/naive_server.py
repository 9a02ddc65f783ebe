"""One machine of the naive cluster: what it holds, and how each policy composes a step, in lists and dictionaries."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf

from workloads.serving.simulation import Machine

StepSeconds = Callable[[int, int, float, int, float], float]
"""Seconds by sequences, decodes, sum of their contexts, prefilled tokens, (query, key) pairs of those."""


@dataclass(eq=False)
class Sequence:
    number: int
    arrival: float
    prompt: int
    output: int
    hashes: list[int]
    computed: int = 0
    generated: int = 0
    scheduled: int = 0
    own_blocks: int = 0
    arriving_blocks: int = 0
    units: list[object] = field(default_factory=list)
    state: str = "unborn"
    machine: Server | None = None
    decoder: Server | None = None
    skips: int = 0
    preemptions: int = 0
    admitted: float = -1.0
    first_token: float = -1.0
    last_token: float = -1.0
    longest_gap: float = 0.0

    @property
    def uncomputed(self) -> int:
        return self.prompt + self.generated - self.computed

    @property
    def decodes(self) -> bool:
        return self.generated > 0 and self.uncomputed == 1

    def key(self, unit: int) -> object:
        return self.hashes[unit] if unit < len(self.hashes) else (self.number, unit)


class Server:
    def __init__(self, index: int, spec: Machine, seconds: StepSeconds, unit_tokens: int, full: bool) -> None:
        self.index, self.spec, self.seconds, self.full = index, spec, seconds, full
        self.role = self.home = spec.role
        self.blocks = spec.kv_tokens // spec.block_tokens
        self.unit_tokens = unit_tokens
        self.unit_blocks = unit_tokens // spec.block_tokens
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.inbound: list[Sequence] = []
        self.held: list[Sequence] = []
        self.expected: list[Sequence] = []
        self.references: Counter[object] = Counter()
        self.idle: OrderedDict[object, None] = OrderedDict()
        self.step_end = inf
        self.steps = 0
        self.busy = 0.0
        self.send_free = self.receive_free = 0.0

    # Memory.

    @property
    def free(self) -> int:
        own = sum(r.own_blocks for r in (*self.running, *self.held)) + sum(r.arriving_blocks for r in self.inbound)
        return self.blocks - own - self.unit_blocks * len(self.references)

    def blocks_for(self, r: Sequence, tokens: int, units: int) -> int:
        if self.full:
            tokens = r.prompt + r.output if r.decoder is self else max(r.prompt, tokens)
        return ceil(max(0, tokens - units * self.unit_tokens) / self.spec.block_tokens)

    def evict(self) -> None:
        assert self.free >= 0
        while len(self.idle) * self.unit_blocks > self.free:
            self.idle.popitem(last=False)

    def refer(self, key: object) -> None:
        self.idle.pop(key, None)
        self.references[key] += 1

    def release(self, r: Sequence) -> None:
        for key in reversed(r.units):
            self.references[key] -= 1
            if not self.references[key]:
                del self.references[key]
                self.idle[key] = None
        r.units, r.own_blocks = [], 0

    def cached(self, r: Sequence) -> int:
        if not self.spec.prefix_cache:
            return 0
        known = (r.prompt + r.generated - 1) // self.unit_tokens
        known = min(known, len(r.hashes)) if not r.preemptions else known
        for unit in range(known):
            if r.key(unit) not in self.references and r.key(unit) not in self.idle:
                return unit
        return known

    def grow(self, r: Sequence, new_tokens: int) -> bool:
        more = max(0, self.blocks_for(r, r.computed + new_tokens, len(r.units)) - r.own_blocks)
        if more > self.free:
            return False
        r.own_blocks += more
        self.evict()
        return True

    def share(self, r: Sequence) -> None:
        while self.spec.prefix_cache and len(r.units) < min(len(r.hashes), r.computed // self.unit_tokens):
            key = r.key(len(r.units))
            r.own_blocks -= self.unit_blocks
            self.refer(key)
            r.units.append(key)

    def preempt_last(self) -> Sequence:
        r = self.running.pop()
        r.preemptions += 1
        if self.spec.prefix_cache:
            for unit in reversed(range(len(r.units), r.computed // self.unit_tokens)):
                r.own_blocks -= self.unit_blocks
                if r.key(unit) not in self.references and r.key(unit) not in self.idle:
                    self.idle[r.key(unit)] = None
        self.release(r)
        r.computed = r.scheduled = r.skips = 0
        r.state = "waiting"
        self.waiting.insert(0, r)
        return r

    # Policies.

    def give(self, r: Sequence, new_tokens: int) -> bool:
        """Schedule a running request; False if it was preempted itself."""
        while not self.grow(r, new_tokens):
            if self.preempt_last() is r:
                return False
        r.scheduled = new_tokens
        return True

    def admit(self, budget: float, whole: bool, now: float) -> int:
        r = self.waiting[0]
        units = self.cached(r)
        cached = units * self.unit_tokens
        total = r.prompt + r.generated
        new = int(min(total - cached, budget))
        own = self.blocks_for(r, total if whole else cached + new, units)
        idle = sum(r.key(unit) in self.idle for unit in range(units))
        if own + idle * self.unit_blocks > self.free:
            return 0
        self.waiting.pop(0)
        for unit in range(units):
            self.refer(r.key(unit))
        r.units = [r.key(unit) for unit in range(units)]
        r.own_blocks, r.computed, r.scheduled, r.state = own, cached, new, "running"
        self.running.append(r)
        self.evict()
        if not r.preemptions:
            r.admitted = now
        return new

    @property
    def has_place(self) -> bool:
        return bool(self.waiting) and len(self.running) + len(self.inbound) < self.spec.max_sequences

    def compose(self, now: float) -> bool:
        """Schedule the next step; True if somebody was preempted."""
        for r in self.running:
            r.scheduled = 0
        preempted = sum(r.preemptions for r in (*self.running, *self.waiting))
        getattr(self, self.spec.policy.replace("-", "_"))(now)
        return sum(r.preemptions for r in (*self.running, *self.waiting)) > preempted

    def all_decodes(self, budget: float) -> float:
        for r in list(self.running):
            if r in self.running and r.decodes and budget > 0 and self.give(r, 1):
                budget -= 1
        return budget

    def vllm_v1(self, now: float) -> None:
        budget, waiting = self.spec.max_batched_tokens, len(self.waiting)
        for r in list(self.running):
            if r in self.running:
                new = min(r.uncomputed, budget)
                if new and self.give(r, new):
                    budget -= new
        if len(self.waiting) > waiting:
            return
        while budget > 0 and self.has_place:
            new = self.admit(budget, False, now)
            if not new:
                break
            budget -= new

    def sarathi(self, now: float) -> None:
        waiting = len(self.waiting)
        budget = self.all_decodes(self.spec.max_batched_tokens)
        for r in self.running:
            new = int(min(r.uncomputed, budget))
            if new and not r.decodes and self.grow(r, new):
                r.scheduled = new
                budget -= new
        while budget > 0 and len(self.waiting) <= waiting and self.has_place:
            new = self.admit(budget, True, now)
            if not new:
                break
            budget -= new
            waiting -= 1

    def orca(self, now: float) -> None:
        waiting = len(self.waiting)
        self.all_decodes(inf)
        budget, first = self.spec.max_batched_tokens - len(self.running), True
        while len(self.waiting) <= waiting and self.has_place:
            r = self.waiting[0]
            new = r.uncomputed - self.cached(r) * self.unit_tokens
            if (new > budget and not first) or not self.admit(inf, True, now):
                break
            budget, first, waiting = budget - new, False, waiting - 1

    def splitwise(self, now: float) -> None:
        limit = self.spec.max_batched_tokens
        before = list(self.running)

        def used() -> int:
            return sum(r.scheduled for r in self.running)

        def decode(skips: int) -> None:
            for r in before:
                if r in self.running and not r.scheduled and r.skips >= skips and r.decodes and used() < limit:
                    self.give(r, 1)

        decode(4)
        while self.has_place:
            r = self.waiting[0]
            new = r.uncomputed - self.cached(r) * self.unit_tokens
            if (used() and used() + new > limit) or not self.admit(inf, True, now):
                break
        decode(1)
        decode(0)
        for r in before:
            if r in self.running:
                r.skips = 0 if r.scheduled else r.skips + 1

    def step_seconds(self) -> float:
        rows = [r for r in self.running if r.scheduled]
        decodes = [r for r in rows if r.decodes]
        prefills = [r for r in rows if not r.decodes]
        contexts = sum(r.computed + 1 for r in decodes)
        tokens = sum(r.scheduled for r in prefills)
        pairs = sum(r.computed + i for r in prefills for i in range(1, r.scheduled + 1))
        return self.seconds(len(rows), len(decodes), contexts, tokens, pairs) + self.spec.host_seconds

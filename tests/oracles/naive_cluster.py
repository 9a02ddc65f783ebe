"""A serving cluster step by step: lists, dictionaries and no shortcut. Every step of every machine is an event of its own.

It shares nothing with the event loop but the words: loads are summed up anew from all requests whenever somebody asks, the
memory in use is counted from what each request holds, and a machine composes every single step afresh.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, inf

from workloads.serving.simulation import Cluster, Machine

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


class NaiveCluster:
    """All machines and requests; :meth:`run` serves them all, then ``sequences`` and ``servers`` say what happened."""

    def __init__(
        self,
        cluster: Cluster,
        seconds: list[StepSeconds],
        full: list[bool],
        requests: list[tuple[float, int, int, list[int]]],
        unit_tokens: int,
        rates: list[tuple[float, float]],
    ) -> None:
        self.cluster, self.rates = cluster, rates
        self.servers = [
            Server(i, spec, seconds[spec.table], unit_tokens or spec.block_tokens, full[i])
            for i, spec in enumerate(cluster.machines)
        ]
        self.sequences = [Sequence(i, *request) for i, request in enumerate(requests)]
        self.transfers: dict[int, float] = {}
        self.prefill_turn = self.decode_turn = 0
        self.now = 0.0

    def run(self) -> None:
        arrivals = list(self.sequences)
        tick = self.cluster.reallocation.interval_seconds if self.cluster.reallocation.kind == "hysteresis" else inf
        while any(r.state != "finished" for r in self.sequences):
            times = [s.step_end for s in self.servers] + list(self.transfers.values())
            self.now = min([*times, tick, arrivals[0].arrival if arrivals else inf])
            assert self.now < inf, "nothing can go on"
            while self.happens_now():
                pass
            if tick == self.now:
                self.reallocate()
                tick += self.cluster.reallocation.interval_seconds
            while arrivals and arrivals[0].arrival == self.now:
                self.arrive(arrivals.pop(0))
            for server in self.servers:
                if server.step_end == inf:
                    self.go_on(server)

    def happens_now(self) -> bool:
        for server in self.servers:
            if server.step_end == self.now:
                self.end_step(server)
                return True
        for number in sorted(self.transfers):
            if self.transfers[number] == self.now:
                del self.transfers[number]
                self.end_transfer(self.sequences[number])
                return True
        return False

    def go_on(self, server: Server) -> None:
        self.receive(server)
        kind = self.cluster.reallocation.kind
        while not self.begin(server):
            waiting = [r for other in self.servers for r in other.expected if r.machine is server]
            if kind == "none" or not waiting:
                break
            r = waiting[0]
            assert r.decoder is not None
            r.decoder.expected.remove(r)
            server.held.remove(r)
            r.decoder, r.state = server, "running"
            server.running.append(r)
        idle = server.step_end == inf and not self.load(server, "least-requests", None)
        if idle and kind == "mixed-pool" and server.role == "mixed":
            server.role = server.home

    def begin(self, server: Server) -> bool:
        while True:
            preempted = server.compose(self.now)
            if any(r.scheduled for r in server.running):
                seconds = server.step_seconds()
                server.step_end = self.now + seconds
                server.busy += seconds
                server.steps += 1
                return True
            if not preempted:
                return False

    def end_step(self, server: Server) -> None:
        server.step_end = inf
        for r in server.running:
            if r.scheduled:
                prefill = not r.decodes
                r.computed += r.scheduled
                r.scheduled = 0
                if prefill:
                    server.share(r)
                if r.uncomputed == 0:
                    r.generated += 1
                    if r.generated == 1:
                        r.first_token = self.now
                    else:
                        r.longest_gap = max(r.longest_gap, self.now - r.last_token)
                    r.last_token = self.now
        for r in list(server.running):
            if r.generated == r.output:
                r.state = "finished"
                server.running.remove(r)
                server.release(r)
            elif r.decoder is not server and r.generated:
                r.state = "held"
                server.running.remove(r)
                server.held.append(r)
                assert r.decoder is not None
                r.decoder.expected.append(r)
                self.receive(r.decoder)

    def receive(self, server: Server) -> None:
        while server.expected:
            r = server.expected[0]
            count = server.blocks_for(r, r.computed + 1, 0)
            full = len(server.running) + len(server.inbound) >= server.spec.max_sequences
            if full or any(w.preemptions for w in server.waiting) or count > server.free:
                break
            server.expected.pop(0)
            server.inbound.append(r)
            r.arriving_blocks = count
            server.evict()
            self.send(r, server)

    def send(self, r: Sequence, target: Server) -> None:
        source, transfer = r.machine, self.cluster.transfer
        assert source is not None
        bandwidth = min(source.spec.link_bytes_per_second, target.spec.link_bytes_per_second)
        size = r.computed * source.spec.kv_bytes_per_token
        if transfer.layerwise:
            layers = source.spec.layers
            size = max(size / layers, size - bandwidth * (r.first_token - r.admitted) * (layers - 1) / layers)
        begin = max(self.now, source.send_free, target.receive_free) if transfer.shared else self.now
        self.transfers[r.number] = begin + transfer.latency_seconds + size / bandwidth
        source.send_free = target.receive_free = self.transfers[r.number]

    def end_transfer(self, r: Sequence) -> None:
        source, target = r.machine, r.decoder
        assert source is not None
        assert target is not None
        source.held.remove(r)
        source.release(r)
        target.inbound.remove(r)
        target.running.append(r)
        r.own_blocks, r.arriving_blocks, r.machine, r.state = r.arriving_blocks, 0, target, "running"
        self.receive(source)

    # Dispatch.

    def of(self, server: Server) -> Iterator[Sequence]:
        for r in self.sequences:
            if r.state not in ("unborn", "finished") and server in (r.machine, r.decoder):
                yield r

    def pending_prompts(self, server: Server) -> int:
        return sum(r.uncomputed for r in (*server.waiting, *server.running) if not r.decodes)

    def load(self, server: Server, rule: str, new: Sequence | None) -> float:
        prompts = self.pending_prompts(server)
        outputs = sum(r.output - r.generated for r in self.of(server) if r.decoder is server)
        if rule == "least-requests":
            return len(list(self.of(server)))
        if rule == "least-tokens":
            return prompts + outputs
        if rule == "least-kv":
            return sum(r.prompt + (r.generated if r.decoder is server else 0) for r in self.of(server))
        if rule == "least-time":
            prefill, decode = self.rates[server.index]
            return prompts * prefill + outputs * decode
        assert rule == "prefix"
        assert new is not None
        return prompts + new.prompt - server.cached(new) * server.unit_tokens

    def reserved(self, server: Server) -> int:
        return sum(r.prompt + r.output for r in self.of(server) if r.decoder is server)

    def choose(self, rule: str, roles: set[str], turn: int, r: Sequence) -> Server:
        count = len(self.servers)
        if rule == "round-robin":
            return next(s for i in range(count) if (s := self.servers[(turn + i) % count]).role in roles)
        return min((s for s in self.servers if s.role in roles), key=lambda s: self.load(s, rule, r))

    def arrive(self, r: Sequence) -> None:
        if self.cluster.reallocation.kind == "mixed-pool":
            prefill, decode = self.mixed_pool(r)
        else:
            prefill = self.choose(self.cluster.prefill_dispatch, {"both", "prefill", "mixed"}, self.prefill_turn, r)
            self.prefill_turn = prefill.index + 1
            decode = prefill
            if prefill.role != "both":
                decode = self.choose(self.cluster.decode_dispatch, {"decode", "mixed"}, self.decode_turn, r)
                self.decode_turn = decode.index + 1
        r.machine, r.decoder, r.state = prefill, decode, "waiting"
        prefill.waiting.append(r)

    def mixed_pool(self, r: Sequence) -> tuple[Server, Server]:
        def least(role: str, load: Callable[[Server], int]) -> Server | None:
            return min((s for s in self.servers if s.role == role), key=load, default=None)

        def queue_takes(s: Server | None) -> bool:
            limit = self.cluster.reallocation.threshold_tokens
            return s is not None and (not self.pending_prompts(s) or self.pending_prompts(s) + r.prompt <= limit)

        def memory_takes(s: Server | None) -> bool:
            return s is not None and self.reserved(s) + r.prompt + r.output <= s.blocks * s.spec.block_tokens

        prefill = least("prefill", self.pending_prompts)
        if not queue_takes(prefill):
            mixed, helper = least("mixed", self.pending_prompts), least("decode", self.pending_prompts)
            if queue_takes(mixed):
                prefill = mixed
            elif helper is not None:
                helper.role = "mixed"
                prefill = helper
            else:
                both = [s for s in (prefill, mixed) if s is not None]
                prefill = min(both, key=self.pending_prompts)
        assert prefill is not None
        decode = least("decode", self.reserved)
        if not memory_takes(decode):
            mixed, helper = least("mixed", self.reserved), least("prefill", self.reserved)
            if memory_takes(mixed):
                decode = mixed
            elif helper is not None and memory_takes(helper):
                helper.role = "mixed"
                decode = helper
            else:
                decode = prefill
        assert decode is not None
        return prefill, decode

    def reallocate(self) -> None:
        rule = self.cluster.reallocation
        prefills = [s for s in self.servers if s.role == "prefill"]
        decodes = [s for s in self.servers if s.role == "decode"]
        queue = sum(self.pending_prompts(s) * self.rates[s.index][0] for s in prefills) / len(prefills)
        occupancy = sum(self.load(s, "least-kv", None) for s in decodes) / sum(
            s.blocks * s.spec.block_tokens for s in decodes
        )
        lent = [s for s in prefills if s.home == "decode"]
        borrowed = [s for s in decodes if s.home == "prefill"]
        if queue > rule.high_seconds and occupancy < rule.low_occupancy:
            self.flip(borrowed or [s for s in decodes if s.home == "decode"], decodes, "prefill")
        elif occupancy > rule.high_occupancy and queue < rule.low_seconds:
            self.flip(lent or [s for s in prefills if s.home == "prefill"], prefills, "decode")
        elif queue < rule.low_seconds and lent:
            self.flip(lent, prefills, "decode")
        elif occupancy < rule.low_occupancy and borrowed:
            self.flip(borrowed, decodes, "prefill")

    def flip(self, candidates: list[Server], all_of_role: list[Server], role: str) -> None:
        if len(all_of_role) > 1 and candidates:
            load = self.pending_prompts if role == "decode" else lambda s: self.load(s, "least-kv", None)
            min(candidates, key=load).role = role

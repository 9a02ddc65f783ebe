"""A serving cluster step by step: lists, dictionaries and no shortcut. Every step of every machine is an event of its own.

It shares nothing with the event loop but the words: loads are summed up anew from all requests whenever somebody asks, the
memory in use is counted from what each request holds, and a machine composes every single step afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

from tests.oracles.naive_server import Sequence, Server, StepSeconds
from workloads.serving.simulation import Cluster


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

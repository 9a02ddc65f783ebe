"""The routing of a run: what one chip of an expert-parallel group sends, receives and computes."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.experts.all_to_all import Exchange, Segments
from kernels.experts.routing import Routing
from workloads.models.model import Model
from workloads.models.parallel import Shard
from workloads.settings.expert_load import ExpertLoad


@dataclass(frozen=True, eq=False)
class ExpertRouting:
    """Of the chip that receives most rows, which is the one that is simulated."""

    exchange: Exchange
    rank: int

    @property
    def own(self) -> Routing:
        """Routing of the chip's own tokens."""
        return self.exchange.routings[self.rank]

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of each expert that it holds."""
        return self.exchange.rows(self.rank)

    @property
    def imbalance(self) -> float:
        """Rows that it computes, over the mean of all chips."""
        mean = sum(sum(self.exchange.rows(rank)) for rank in range(self.exchange.ranks)) / self.exchange.ranks
        return sum(self.rows) / mean

    @property
    def dispatch(self) -> Segments:
        """Rows that it pulls from its peers before the experts."""
        return self.exchange.dispatch(self.rank)

    @property
    def combine(self) -> Segments:
        """Rows that its peers pull back from it, which are no fewer than it pulls itself: one chip stands for both ends."""
        return self.dispatch.reversed()


def route(model: Model, shard: Shard, tokens: int, load: ExpertLoad, seed: int) -> ExpertRouting | None:
    """Route ``tokens`` of every one of ``shard.ep`` groups; None for a model without experts."""
    if model.experts is None:
        return None
    every = load.routing(tokens * shard.ep, model.experts.count, model.experts.top_k, seed)
    exchange = Exchange(tuple(every.part(rank * tokens, tokens) for rank in range(shard.ep)))
    return ExpertRouting(exchange, exchange.busiest_rank)

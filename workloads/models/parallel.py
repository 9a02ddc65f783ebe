"""Tensor parallelism: which degrees a model allows, and what one chip then computes.

Megatron's scheme (Shoeybi et al., arXiv 1909.08053): heads and FFN columns are split, the vocabulary of the embedding
table and of the LM head too, and each layer ends its attention and its FFN with an all-reduce.
"""

from __future__ import annotations

from dataclasses import dataclass

from uarch.errors import InputError
from workloads.models.model import Model


@dataclass(frozen=True)
class Shard:
    """Part of a model that one of ``tp`` chips computes."""

    tp: int
    q_heads: int
    kv_heads: int
    """Key and value heads of a chip, at least 1: with more chips than K/V heads, each head is on ``tp / kv_heads`` chips."""
    ffn: int
    vocab: int
    """Rows of the vocabulary; it is padded to a multiple of ``tp``."""
    ep: int = 1
    """Groups of ``tp`` chips that each hold a part of the routed experts and attend to a part of the batch."""
    experts: int = 0
    """Routed experts of each group of chips."""
    expert_ffn: int = 0
    shared_ffn: int = 0

    @property
    def chips(self) -> int:
        """Number of chips in all groups together."""
        return self.tp * self.ep


def check_parallel(model: Model, tp: int, ep: int = 1) -> Shard:
    """Share of one chip at degrees ``tp`` and ``ep``.

    ``tp`` must divide the query heads and all FFN widths, and divide the K/V heads or be a multiple of them (a latent
    cache has none). ``ep`` must divide the routed experts. The vocabulary need not divide, it is padded.

    Raises
    ------
    InputError
        Names the dimension that ``tp`` or ``ep`` does not divide and the degrees that the model allows.
    """
    obstacle = _obstacle(model, tp)
    if obstacle:
        allowed = ", ".join(map(str, allowed_degrees(model)))
        raise InputError(f"tp = {tp}: {obstacle}; allowed for {model.name}: {allowed}")
    experts = model.experts
    if ep < 1 or (experts.count if experts else 1) % ep:
        has = f"{experts.count} routed experts" if experts else "no experts"
        raise InputError(f"ep = {ep}: {model.name} has {has}; allowed: {'divisors of that' if experts else 1}")
    return Shard(
        tp,
        model.q_heads // tp,
        max(1, model.kv_heads // tp),
        model.ffn // tp,
        -(-model.vocab // tp),
        ep,
        experts.count // ep if experts else 0,
        experts.ffn // tp if experts else 0,
        experts.shared_ffn // tp if experts else 0,
    )


def allowed_degrees(model: Model) -> list[int]:
    """Degrees of tensor parallelism that the model allows, ascending."""
    return [tp for tp in range(1, model.q_heads + 1) if not _obstacle(model, tp)]


def _obstacle(model: Model, tp: int) -> str:
    if tp < 1:
        return "must be at least 1"
    if model.q_heads % tp:
        return f"does not divide q_heads = {model.q_heads}"
    if model.latent is None and model.kv_heads % tp and tp % model.kv_heads:
        return f"neither divides kv_heads = {model.kv_heads} nor is a multiple of it"
    widths = {"ffn": model.ffn}
    if model.experts is not None:
        widths |= {"experts.ffn": model.experts.ffn, "experts.shared_ffn": model.experts.shared_ffn}
    return next((f"does not divide {name} = {width}" for name, width in widths.items() if width % tp), "")

"""What a phase keeps in device memory, and whether it fits.

The rule that reproduces SPAD's capacities (arXiv 2510.08544, Section 6): weights and KV cache may take
``Chip.usable_bytes``, activations what is left of ``Chip.capacity_bytes``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

from uarch.chip.schema import Chip
from uarch.errors import InputError
from workloads.layers.registry import FEED_FORWARDS, INPUTS, SCHEDULES
from workloads.models.footprint import Footprint
from workloads.models.model import Model
from workloads.models.parallel import Shard, allowed_degrees, check_parallel

GIB = 1 << 30
_LONG = 1 << 16
"""Rows of a column over which the bits of a stored weight are averaged."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes on each chip of a tensor-parallel group, and the limits that they were checked against."""

    weight_bytes: int
    kv_cache_bytes: int
    activation_bytes: int
    usable_bytes: int
    capacity_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights, KV cache and activations."""
        return self.weight_bytes + self.kv_cache_bytes + self.activation_bytes

    @property
    def excess_bytes(self) -> int:
        """By how much the limits are exceeded, the worse of the two; 0 if all fits."""
        over_usable = self.weight_bytes + self.kv_cache_bytes - self.usable_bytes
        return max(0, over_usable, self.total_bytes - self.capacity_bytes)


def check_fits(chip: Chip, model: Model, footprint: Footprint) -> MemoryUse:
    """Memory that a phase takes on each chip.

    Raises
    ------
    InputError
        If ``tp`` does not suit the model, a size is below 1, or the memory is too small: then the message says what is
        needed, by how much that is too much, and the smallest power of two for ``tp`` that would do.
    """
    for name in ("batch", "kv_len", "tokens", "logit_tokens"):
        value = getattr(footprint, name)
        if value < 1:
            raise InputError(f"{name} = {value}: must be at least 1")
    use = memory_use(chip, model, footprint)
    if use.excess_bytes:
        raise InputError(_does_not_fit(chip, model, footprint, use))
    return use


def memory_use(chip: Chip, model: Model, footprint: Footprint) -> MemoryUse:
    """Bytes on each chip, whether they fit or not; ``InputError`` if the degrees do not suit the model."""
    shard = check_parallel(model, footprint.tp, footprint.ep)
    bits = footprint.kv_bits or footprint.dtype_bits
    kv_bytes = model.kv_cache_bytes(bits, footprint.kv_len, footprint.tp, footprint.pp)
    return MemoryUse(
        weight_bytes=_weight_bytes(model, footprint),
        kv_cache_bytes=kv_bytes * footprint.batch,
        activation_bytes=_bytes(_activation_elements(model, shard, footprint), footprint.dtype_bits),
        usable_bytes=chip.usable_bytes,
        capacity_bytes=chip.capacity_bytes,
    )


def _weight_bytes(model: Model, footprint: Footprint) -> int:
    """Products of layers in their own format, all else (embeddings, LM head, norms, routers) in that of activations."""
    degrees = footprint.tp, footprint.ep
    every = model.parameters_per_chip(*degrees, footprint.pp)
    if footprint.weights is None:
        return _bytes(every, footprint.dtype_bits)
    linear = max(
        sum(model.linear_parameters_per_chip(*degrees, kind) for kind in stage) for stage in model.stages(footprint.pp)
    )
    stored_bits = footprint.weights.matrix_bits(_LONG, 1) * linear // _LONG
    return _bytes(1, stored_bits) + _bytes(every - linear, footprint.dtype_bits)


def _activation_elements(model: Model, shard: Shard, footprint: Footprint) -> int:
    """Elements of the largest set of buffers that are live at once, whatever the phase is doing."""
    stream = footprint.tokens * model.hidden
    return max(
        3 * stream,  # norm, with the residual addition: stream, what is added, normed stream
        stream + footprint.logit_tokens * (model.hidden + shard.vocab),  # LM head, from the normed rows
        *(part.live_elements(model, shard, footprint) for part in chain(INPUTS, SCHEDULES, FEED_FORWARDS)),
    )


def _does_not_fit(chip: Chip, model: Model, footprint: Footprint, use: MemoryUse) -> str:
    degrees = f"tp = {footprint.tp}" + (f", ep = {footprint.ep}" if footprint.ep > 1 else "")
    degrees += f", pp = {footprint.pp}" if footprint.pp > 1 else ""
    shape = f"{degrees}, batch = {footprint.batch}, kv_len = {footprint.kv_len}"
    parts = (("weights", use.weight_bytes), ("KV cache", use.kv_cache_bytes), ("activations", use.activation_bytes))
    needed = " + ".join(f"{name} {_gib(size)}" for name, size in parts)
    limits = f"allowed: {_gib(use.usable_bytes)} for weights and KV cache, {_gib(use.capacity_bytes)} in all"
    return (
        f"{shape}: {model.name} does not fit on {chip.name}, {_gib(use.excess_bytes)} too much per chip: {needed}; "
        f"{limits}; {_degree_that_fits(chip, model, footprint)}"
    )


def _degree_that_fits(chip: Chip, model: Model, footprint: Footprint) -> str:
    degrees = [tp for tp in allowed_degrees(model) if tp & (tp - 1) == 0]
    for tp in degrees:
        if not memory_use(chip, model, replace(footprint, tp=tp)).excess_bytes:
            return f"smallest tp that fits: {tp}"
    return f"no tp of {', '.join(map(str, degrees))} fits"


def _bytes(elements: int, bits: int) -> int:
    return -(-elements * bits // 8)


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / GIB:.2g} GiB"

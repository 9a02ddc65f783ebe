"""Step times of a chip's roofline: every operator at the peak of what bounds it, launches and all-reduces added.

A lower bound for a model on given chips, in milliseconds to compute: for surveys, and where no surface has been built.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from uarch.arrays import FloatArray
from uarch.chip.schema import Chip
from uarch.energy.per_event import event_energies
from uarch.energy.static_power import dram_background_watts, static_power
from uarch.energy.supply_voltage import operating_point
from workloads.models.model import Model
from workloads.models.parallel import check_parallel
from workloads.serving.step_times.protocol import Steps

_KERNELS_PER_LAYER = 10
"""Norms, projections, rotation, cache update, attention, feed-forward products and activation."""
_ALL_REDUCES_PER_LAYER = 2
_TILE_ROWS, _TILE_COLS = 128, 256
"""Output tile of a product, whose operands come from L2 once; as for peak power."""
_ROW_BYTES = 1024
"""DRAM bytes read from an open row."""
_PJ = 1e-12


@dataclass(frozen=True)
class RooflineStepTimes:
    """Step times of ``tp x ep`` chips that hold one replica of a model."""

    chip: Chip
    model: Model
    tp: int
    ep: int
    dtype: str
    element_bytes: float
    launch_seconds: float
    """Seconds of the launch of each kernel."""

    def seconds_and_joules(self, steps: Steps) -> FloatArray:
        """Evaluate the roofline; see :class:`workloads.serving.step_times.protocol.StepTimes`."""
        tokens = (steps.decodes + steps.prefill_tokens) / self.ep
        peak, bandwidth = self.chip.peak_flops(self.dtype) / 2, self.chip.memory.bandwidth_bytes_per_second
        dense_macs, dense_bytes = self._layers(tokens)
        head_macs = steps.sequences / self.ep * self._head
        head_bytes = np.where(steps.sequences > 0, self._head * self.element_bytes, 0.0)
        cache = self.model.kv_bytes_per_token(round(8 * self.element_bytes), self.tp)
        decode_bytes = steps.decode_contexts / self.ep * cache
        decode_macs = steps.decode_contexts / self.ep * self._macs_per_pair
        prefill_macs = steps.prefill_pairs / self.ep * self._macs_per_pair
        macs = np.stack([dense_macs, head_macs, decode_macs, prefill_macs])
        size = np.stack([dense_bytes, head_bytes, decode_bytes, np.zeros(len(tokens))])
        seconds = np.maximum(macs / peak, size / bandwidth).sum(axis=0) + self._between(tokens)
        joules = self.tp * self.ep * self._joules(macs.sum(axis=0), size.sum(axis=0), seconds)
        return np.stack([seconds, joules], axis=1)

    @cached_property
    def _head(self) -> float:
        """Weights of the LM head on one chip."""
        return self.model.hidden * check_parallel(self.model, self.tp, self.ep).vocab

    @cached_property
    def _macs_per_pair(self) -> float:
        """Multiply-accumulates of a (query, key) pair in all layers on one chip: scores and weighted values."""
        heads = self.model.q_heads / self.tp
        latent = self.model.latent
        widths = 2 * latent.kv_rank + latent.rope_dim if latent else 2 * self.model.head_dim
        return heads * widths * self.model.n_layers

    def _layers(self, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return MACs and bytes of weights of all layers on one chip; experts that no token visits are not read."""
        experts = self.model.experts
        macs, size = np.zeros(len(tokens)), np.zeros(len(tokens))
        for kind in set(self.model.layer_kinds):
            count = self.model.layer_kinds.count(kind)
            every = self.model.linear_parameters_per_chip(self.tp, self.ep, kind)
            routed, active, visited = 0.0, 0.0, np.ones(len(tokens))
            if experts is not None and kind.has_experts:
                inputs = 3 if self.model.gated_ffn else 2
                one = inputs * self.model.hidden * experts.ffn / self.tp
                routed, active = one * experts.count / self.ep, one * experts.top_k
                visited = 1 - (1 - experts.top_k / experts.count) ** (tokens * self.ep)
            macs += count * tokens * (every - routed + active)
            size += count * (every - routed + routed * visited) * self.element_bytes
        return macs, size

    def _between(self, tokens: FloatArray) -> FloatArray:
        """Return the seconds of launches and of all-reduces through the chips' links."""
        launches = _KERNELS_PER_LAYER * self.model.n_layers * self.launch_seconds
        if self.tp * self.ep == 1:
            return np.full(len(tokens), launches)
        link, group = self.chip.link, self.tp * self.ep
        moved = 2 * (group - 1) / group * tokens * self.model.hidden * self.element_bytes
        reduce = 2 * link.latency_seconds + moved / link.bandwidth_bytes_per_second
        return np.asarray(launches + _ALL_REDUCES_PER_LAYER * self.model.n_layers * reduce, np.float64)

    def _joules(self, macs: FloatArray, size: FloatArray, seconds: FloatArray) -> FloatArray:
        """Return the energy of one chip at the board: events of matrices and memories, and what is drawn all the time."""
        energies = {event: energy.pj * _PJ for event, energy in event_energies(self.chip, self.dtype).items()}
        point = operating_point(self.chip)
        static = static_power(self.chip, point)
        fetched = macs * self.element_bytes * (1 / _TILE_ROWS + 1 / _TILE_COLS) + size
        l1 = macs / (self.chip.peak_flops(self.dtype) / 2) * self.chip.l1_bytes_per_second
        core = macs * energies["matrix_mac"] + l1 * energies["l1_byte"]
        core += fetched * (energies["l2_byte"] + energies["noc_byte"]) + size * energies["l2_byte"]
        memory = size * (energies["dram_read_byte"] + energies["dram_activate"] / _ROW_BYTES)
        always = (static.watts + dram_background_watts(self.chip)) * seconds
        drawn = core * point.core_energy + memory + always
        return np.asarray(drawn / (self.chip.power.delivery_efficiency - static.leakage_per_watt), np.float64)

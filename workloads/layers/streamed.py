"""Grouped-query attention in one kernel (FlashAttention), after a selection of pages if its mask has one."""

from __future__ import annotations

from dataclasses import replace

from kernels.attention.page_selection import PageBounds, page_bounds, select_pages
from kernels.attention.tensors import AttentionTensors
from kernels.masks.score_masks import PagesMask
from workloads.layers.context import LayerContext
from workloads.layers.key_values import KEY_VALUES, grouped_attention
from workloads.layers.layout import Layer, Layout
from workloads.layers.operator import Operator
from workloads.layers.part import LayerPart
from workloads.models.footprint import Footprint
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase


class StreamedAttention(LayerPart[PageBounds | None, None]):
    """Attention under any mask; a layer has metadata of its pages if the mask selects some of them."""

    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant (:class:`LayerPart`): all that no special schedule serves."""
        return True

    def allocate(self, layout: Layout, index: int) -> PageBounds | None:
        """Allocate weights and caches of a layer; see :class:`LayerPart`."""
        mask = layout.phase.score_mask
        if not isinstance(mask, PagesMask):
            return None
        return page_bounds(grouped_attention(layout), mask.page, layout.space, f".{index}")

    def allocate_shared(self, layout: Layout) -> None:
        """Allocate the activations that all layers use in turn; see :class:`LayerPart`."""

    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution; see :class:`LayerPart`."""
        buffers, bounds, mask = context.buffers, layer.of(self), context.score_mask(layer.kind)
        attention = replace(grouped_attention(context.layout), mask=mask)
        selection = []
        if bounds is not None and isinstance(mask, PagesMask):
            programs = select_pages(attention, buffers.q, bounds, mask.budget // mask.page, context.space)
            selection = [Operator(program.name, "attention", (program,)) for program in programs]
        tensors = AttentionTensors(buffers.q, layer.of(KEY_VALUES).cache, buffers.context)
        return [*selection, context.attention(attention, tensors)]

    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the buffers that are live at once: 0, as :class:`workloads.layers.key_values.KeyValues` counts them."""
        return 0


STREAMED_ATTENTION = StreamedAttention()

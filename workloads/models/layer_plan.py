"""Plan of a model's layers: those that are simulated, and those that are like one of them."""

from __future__ import annotations

from collections.abc import Sequence

from workloads.models.model import LayerKind


def stand_ins(kinds: Sequence[LayerKind]) -> list[int]:
    """Layer that is simulated in the place of each layer: the first of its kind after a layer of the same kind as before it.

    A layer finds in L2 what the layer before has left. The first layer stands for itself alone: there is none before it.
    """
    first: dict[tuple[LayerKind, LayerKind], int] = {}
    return [0, *(first.setdefault((kinds[index - 1], kinds[index]), index) for index in range(1, len(kinds)))]


def simulated_layers(kinds: Sequence[LayerKind]) -> list[int]:
    """Indices of the layers that are simulated, in order."""
    return sorted(set(stand_ins(kinds)))

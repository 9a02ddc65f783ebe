"""Communication behind computation: an all-reduce that begins before the product whose sums it adds has ended.

The product is cut into chunks along its rows; while one is multiplied, the one before is reduced. Chunks are taken to be
as efficient as the whole, and both to leave each other's memory bandwidth alone: this is what overlap gains at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uarch.chip.schema import Chip
from workloads.settings.stack import Stack


def overlap_all_reduces(rows: Sequence[dict[str, Any]], chunks: int, chip: Chip, stack: Stack) -> list[dict[str, Any]]:
    """Rows in which every all-reduce after a GEMM takes only the time that it sticks out, in ``chunks`` chunks.

    Each chunk but the first costs another launch and another two trips over the link. If nothing is gained that way, a row
    stays as it is.
    """
    hz = chip.clock.tensor_hz
    result: list[dict[str, Any]] = []
    for row in rows:
        if chunks > 1 and row["kind"] == "all_reduce" and result and result[-1]["kind"] == "gemm":
            product_seconds = result[-1]["seconds"] - result[-1]["launch_cycles"] / hz
            chunk_cost = stack.launch_overhead_seconds("all_reduce") + 2 * chip.link.latency_seconds
            reduced = row["seconds"] + (chunks - 1) * chunk_cost
            exposed = reduced - min(product_seconds, reduced) * (chunks - 1) / chunks
            row = _scaled(row, min(1.0, exposed / row["seconds"]))
        result.append(row)
    return result


def _scaled(row: dict[str, Any], factor: float) -> dict[str, Any]:
    """The row in ``factor`` times its time; what it moves and computes stays."""
    fields = [name for name in row if name.endswith("_cycles") or name in {"seconds", "static_joules"}]
    return row | {name: row[name] * factor for name in fields}

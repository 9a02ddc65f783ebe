"""``uarch kernel verify``: the attention that verifies drafted tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from results.plots.quantities import quantity
from uarch.commands.kernel.output import payload, render
from uarch.commands.kernel.shared import CacheOptions, Heads, KernelSetting
from uarch.commands.option_groups import expanded
from uarch.commands.output import console, emit, percent, table
from workloads.settings.choices import DraftPacking

if TYPE_CHECKING:
    from uarch.chip.schema import Chip
    from workloads.single.verify import VerifyRun


@expanded
def verify(
    *,
    setting: KernelSetting,
    heads: Heads,
    draft: Annotated[
        str, typer.Option("--draft", metavar="DRAFT", help="chain:K drafted tokens, or tree:FILE with their parents.")
    ],
    contexts: Annotated[
        str,
        typer.Option(
            "--contexts",
            metavar="FILE_OR_DIST",
            help="Tokens before each draft: a file with one a line, azure-conversation, azure-coding, uniform:LOW,HIGH, "
            "constant:N.",
        ),
    ],
    pack: Annotated[
        DraftPacking,
        typer.Option(
            "--pack", help="Padded to the longest request, or long ones cut into pieces that are merged exactly."
        ),
    ] = "decomposed",
    cache: CacheOptions,
    seed: Annotated[int, typer.Option("--seed", help="Draws contexts and the order of pages.")] = 0,
) -> None:
    """Attention of drafted tokens against ragged contexts: time, traffic, and what packing the batch is worth."""
    from workloads.single.verify import simulate_verify

    def simulation(chip: Chip) -> VerifyRun:
        return simulate_verify(
            chip,
            draft=draft,
            contexts=contexts,
            batch=heads.batch,
            q_heads=heads.q_heads,
            kv_heads=heads.kv_heads,
            head_dim=heads.head_dim,
            pack=pack,
            kv_dtype=cache.kv_dtype,
            page_size=cache.page_size,
            seed=seed,
            dtype=setting.dtype,
            fidelity=setting.fidelity,
        )

    run, _ = setting.run(simulation)
    emit(payload(run), setting.as_json, lambda: _render(run))


def _render(run: VerifyRun) -> None:
    render(run)
    title = f"{run.drafted_tokens} drafted tokens a request, {run.pack}"
    console().print(table(title, ("quantity", "value"), _packing(run), left=2, wrapping="value"))


def _packing(run: VerifyRun) -> Iterator[tuple[str, str]]:
    packing = run.packing
    yield "contexts", f"{run.context_tokens:,} tokens, the longest {run.longest_context_tokens:,}"
    yield "K and V loaded", f"{quantity(run.kv_bytes, 'B')}; padded {quantity(run.padded_kv_bytes, 'B')}"
    yield "partial results", quantity(run.partial_bytes, "B")
    yield (
        "pieces",
        f"{packing.pieces}, at most {packing.longest_piece_tiles} key tiles; busiest core {packing.makespan_tiles}, "
        f"lower bound {packing.lower_bound_tiles} ({percent(packing.lower_bound_tiles / packing.makespan_tiles)})",
    )
    yield "time padded", f"{quantity(run.padded_seconds, 's')}, {run.speedup:.2f} times as long"

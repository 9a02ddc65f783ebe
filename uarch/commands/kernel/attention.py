"""``uarch kernel attention``: attention alone on a chip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from results.plots.quantities import quantity
from uarch.commands.attention_options import (
    ContextsOption,
    MaskOption,
)
from uarch.commands.kernel.output import (
    ReplayOption,
    payload,
    refuse_wrong_replay,
    render,
    render_replay,
    replay_payload,
)
from uarch.commands.kernel.shared import CacheOptions, Heads, KernelSetting
from uarch.commands.option_groups import expanded
from uarch.commands.options import (
    PhaseOption,
)
from uarch.commands.output import console, emit, percent, table
from uarch.errors import InputError
from workloads.settings.choices import Packing, Schedule

if TYPE_CHECKING:
    from kernels.program.tile_program import TileProgram
    from uarch.chip.schema import Chip
    from workloads.single.attention import AttentionRun, MaskReport
    from workloads.single.replay import Replay

ScheduleOption = Annotated[
    Schedule,
    typer.Option(
        "--schedule", help="One kernel that streams K and V, or three with the scores in memory between them."
    ),
]
KvLenOption = Annotated[
    int | None, typer.Option("--kv-len", help="Keys of each sequence, the new ones included; or --contexts.")
]
QLenOption = Annotated[
    int | None,
    typer.Option("--q-len", help="New tokens of each sequence; if left out, all keys in prefill, 1 in decode."),
]
PackOption = Annotated[
    Packing,
    typer.Option("--pack", help="Sequences of different lengths: each as it is, or padded to the longest."),
]


@expanded
def attention(
    *,
    setting: KernelSetting,
    phase: PhaseOption,
    heads: Heads,
    kv_len: KvLenOption = None,
    q_len: QLenOption = None,
    schedule: ScheduleOption = "flash",
    mask: MaskOption = None,
    cache: CacheOptions,
    contexts: ContextsOption = None,
    pack: PackOption = "packed",
    value_dim: Annotated[int, typer.Option("--value-dim", help="Width of a head's values; 0: that of its keys.")] = 0,
    latent: Annotated[
        bool, typer.Option("--latent", help="Values are the first columns of the keys: MLA with absorbed weights.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Draws contexts, random masks and the order of pages.")] = 0,
    replay: ReplayOption = False,
) -> None:
    """Attention, causal or under a mask: cycles, energy, traffic and what bounds it."""
    from workloads.single.attention import simulate_attention

    def simulation(chip: Chip) -> AttentionRun:
        return simulate_attention(
            chip,
            phase,
            batch=heads.batch,
            q_heads=heads.q_heads,
            kv_heads=heads.kv_heads,
            head_dim=heads.head_dim,
            q_len=q_len,
            kv_len=kv_len,
            value_dim=value_dim,
            latent=latent,
            schedule=schedule,
            mask=mask,
            kv_dtype=cache.kv_dtype,
            page_size=cache.page_size,
            contexts=contexts,
            pack=pack,
            seed=seed,
            dtype=setting.dtype,
            fidelity=setting.fidelity,
        )

    run, programs = setting.run(simulation)
    found = _replayed(programs, heads, mask, contexts) if replay else None

    def show() -> None:
        _render(run)
        render_replay(found)

    emit(payload(run) | replay_payload(found), setting.as_json, show)
    refuse_wrong_replay(found)


def _replayed(programs: Sequence[TileProgram], heads: Heads, mask: str | None, contexts: str | None) -> Replay:
    from kernels.masks.native_sparse import NativeSparse
    from kernels.masks.registry import parse_mask
    from workloads.single.replay import replay_attention

    if contexts is not None:
        raise InputError(f"--replay: sequences of contexts {contexts} differ in length; allowed: --kv-len")
    parsed = parse_mask(mask) if mask is not None else None
    if isinstance(parsed, NativeSparse):
        raise InputError(
            f"--replay: mask {mask} is an operator of its own; allowed: masks that keep scores or drop them"
        )
    return replay_attention(programs, (heads.q_heads, heads.kv_heads), batch=heads.batch, mask=parsed)


def _render(run: AttentionRun) -> None:
    render(run)
    if run.mask is not None:
        title = f"Mask {run.mask.mask}, against causal attention"
        console().print(table(title, ("quantity", "value"), _mask(run.mask), left=2, wrapping="value"))


def _mask(report: MaskReport) -> Iterator[tuple[str, str]]:
    yield "kept scores", f"{report.kept_scores:,} of {report.dense_scores:,} per head, {percent(report.kept_fraction)}"
    yield "computed scores", f"{report.computed_scores:,}, {percent(report.padding_fraction)} of them padding"
    yield "time of causal attention", f"{quantity(report.dense_seconds, 's')}, {report.speedup:.2f} times as long"

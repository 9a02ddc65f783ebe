"""``uarch cluster``: machines under load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uarch.commands.output import JsonOption, console, emit, percent, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from workloads.serving.lowering import LoweredCluster
    from workloads.serving.measures import Measures

ClusterArgument = Annotated[
    str, typer.Argument(metavar="NAME_OR_FILE", help="A shipped cluster, such as llama-70b-colocated, or a TOML file.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE.h5", help="Every request and the time series of replicas."),
]

_SPREADS = ("ttft_seconds", "tbt_seconds", "tpot_seconds", "e2e_seconds", "queue_seconds", "transfer_seconds")

SECTION = Section.SIMULATE


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    group = typer.Typer(name="cluster", help="Machines under load: latencies, throughput, cost and energy.")
    group.callback()(_group)
    group.command()(run)
    app.add_typer(group)


def _group() -> None:
    """Simulate machines under load: latencies, throughput, cost and energy."""


def run(cluster: ClusterArgument, output: OutputOption = None, as_json: JsonOption = False) -> None:
    """Serve the requests of a cluster file and show what its users see."""
    from dataclasses import asdict

    from uarch.files.writing import check_output
    from workloads.requests.source import make_requests
    from workloads.serving.cluster_file import load_cluster
    from workloads.serving.lowering import limits_of, load_parts, lower
    from workloads.serving.measures import measure
    from workloads.serving.run_file import write_run
    from workloads.serving.simulation import serve

    file = load_cluster(cluster)
    if output is not None:
        check_output(output)
    parts = load_parts(file)
    requests = make_requests(file.requests, file.seed)
    served = serve(lower(parts, requests), requests, limits_of(file))
    measures = measure(parts, served)
    if output is not None:
        write_run(output, parts, served, measures)
    emit(asdict(measures), as_json, lambda: _render(cluster, parts, measures))


def _render(name: str, cluster: LoweredCluster, measures: Measures) -> None:
    screen = console()
    rows = [(field.removesuffix("_seconds"), *_milliseconds(getattr(measures, field))) for field in _SPREADS]
    screen.print(table(f"{name}: milliseconds", ["", "mean", "P50", "P90", "P99"], rows))
    screen.print(table("Cluster", ["quantity", "value"], _quantities(measures)))
    columns = ["role", "chip", "machines", "replicas", "policy", "KV tokens a replica", "fullest", "busy"]
    screen.print(table("Pools", columns, _pool_rows(cluster, measures), left=2))
    if measures.outcome != "complete":
        screen.print(
            f"Ended early ({measures.outcome}): {measures.requests - measures.finished} requests are not served."
        )
    if not measures.keeps_up:
        screen.print("The cluster does not keep up with its load: the queue grows as long as requests arrive.")


def _milliseconds(spread: Any) -> list[str]:
    values = (spread.mean, spread.p50, spread.p90, spread.p99)
    return ["-" if value is None else f"{value * 1e3:,.1f}" for value in values]


def _quantities(measures: Measures) -> list[tuple[str, str]]:
    energy = measures.energy_per_token_joules
    return [
        ("requests served", f"{measures.finished:,} of {measures.requests:,}"),
        ("requests a second", f"{measures.requests_per_second:.2f}"),
        (
            "of them within the goals",
            f"{measures.goodput_requests_per_second:.2f} ({percent(measures.slo_attainment)})",
        ),
        ("output tokens a second", f"{measures.output_tokens_per_second:,.0f}"),
        ("machines, chips", f"{measures.machines}, {measures.chips}"),
        ("cost in machines of the reference", f"{measures.cost_normalised:.2f}"),
        ("TDP of all chips", f"{measures.tdp_watts:,.0f} W"),
        ("mean power", f"{measures.mean_watts:,.0f} W"),
        ("energy a generated token", "-" if energy is None else f"{energy:.2f} J"),
        ("preemptions", f"{measures.preemptions:,}"),
        ("prompt tokens from prefix caches", percent(measures.cached_share)),
        ("changes of roles", f"{measures.role_changes:,}"),
    ]


def _pool_rows(cluster: LoweredCluster, measures: Measures) -> list[tuple[str, ...]]:
    shares = zip(cluster.pools, measures.kv_peak_share, measures.busy_share, strict=True)
    return [
        (
            part.pool.role,
            part.pool.chip,
            str(part.pool.machines),
            str(part.pool.replicas),
            part.pool.policy,
            f"{part.kv_tokens:,}",
            percent(peak),
            percent(busy),
        )
        for part, peak, busy in shares
    ]

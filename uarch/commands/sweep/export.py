"""``uarch sweep export``: the table of a sweep as Parquet or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uarch.commands.output import JsonOption, emit
from uarch.commands.sweep.show import TableArgument
from uarch.errors import InputError

TargetOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="A .parquet (with pyarrow) or .csv file.")
]


def export(file: TableArgument, output: TargetOption, as_json: JsonOption = False) -> None:
    """Write the table as Parquet or CSV, by the ending of the file."""
    from results.exports.tables import ExportError, columns, write_csv
    from uarch.files.writing import output_file, text_of
    from workloads.sweep.table import read_sweep

    table = read_sweep(file)
    if output.suffix == ".parquet":
        try:
            table.to_parquet(output)
        except ExportError as error:
            raise InputError(f"--output {output}: needs pyarrow; install uarch[parquet], or choose .csv") from error
    elif output.suffix == ".csv":
        with output_file(output) as target, text_of(target) as text:
            write_csv(text, [columns(table.rows)])
    else:
        raise InputError(f"--output {output}: must end in .parquet or .csv")
    payload = {"file": str(output), "rows": len(table.rows), "columns": len(table.names)}
    emit(payload, as_json, lambda: typer.echo(f"{output}: {len(table.rows)} rows, {len(table.names)} columns"))

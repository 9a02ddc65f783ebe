"""``uarch sweep``: the next thousand simulations. ``uarch sweep FILE`` is short for ``uarch sweep run FILE``."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from uarch.commands.sections import Section
from uarch.commands.sweep.export import export
from uarch.commands.sweep.plot import plot
from uarch.commands.sweep.run import run
from uarch.commands.sweep.show import pareto, sensitivity, show

SECTION = Section.SIMULATE


class _RunByDefault(TyperGroup):
    """A group whose first argument may be a sweep in place of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    group = typer.Typer(
        name="sweep",
        cls=_RunByDefault,
        no_args_is_help=True,
        help="Explore designs: run FILE.toml, then show, pareto, sensitivity, plot and export its table.",
    )
    for command in (run, show, pareto, sensitivity, plot, export):
        group.command()(command)
    app.add_typer(group)

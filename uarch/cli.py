"""The command line. Each command is a module of :mod:`uarch.commands`; heavy code is imported when a command runs.

Modules of that folder that have a function ``register`` are commands: no list names them. ``--help`` shows them by
:class:`uarch.commands.sections.Section`, and by name in each.

Exit codes: 0, 2 for wrong input (one line on standard error), 130 when interrupted, 1 when the reader of a pipe left.
Anything else that is raised is a defect and keeps its traceback.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, Protocol, cast

import typer

import uarch.commands
from uarch.commands.sections import Section
from uarch.errors import InputError, unknown_name

WRONG_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 1


def _print_version(wanted: bool) -> None:
    if wanted:
        import uarch

        typer.echo(f"uarch {uarch.__version__}")
        raise typer.Exit


def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Cycles, energy and stalls of LLM kernels and models on a chip, tile by tile."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


class CommandModule(Protocol):
    """What a module of :mod:`uarch.commands` has if it is a command, or a group of commands."""

    SECTION: Section
    """Heading under which ``--help`` shows it."""

    def register(self, app: typer.Typer) -> None:
        """Add the command to ``app``."""


def commands() -> list[CommandModule]:
    """Modules of all commands, in the order in which ``--help`` shows them."""
    modules = [import_module(f"uarch.commands.{name}") for name in _module_names()]
    found = [cast(CommandModule, module) for module in modules if hasattr(module, "register")]
    return sorted(found, key=lambda command: list(Section).index(command.SECTION))


def build_app(modules: Sequence[CommandModule]) -> typer.Typer:
    """The typer application with these commands."""
    app = typer.Typer(
        name="uarch",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_start)
    for module in modules:
        added = typer.Typer()
        module.register(added)
        for command in added.registered_commands:
            command.rich_help_panel = module.SECTION
        for group in added.registered_groups:
            group.rich_help_panel = module.SECTION
        app.registered_commands += added.registered_commands
        app.registered_groups += added.registered_groups
    return app


def _module_names() -> list[str]:
    """Names of the modules of the commands' folder, sorted."""
    return sorted(module.name for module in iter_modules(uarch.commands.__path__))


def _needed(arguments: Sequence[str]) -> list[CommandModule]:
    """The command that is called: building the others would take longer than many a run. All of them for anything else."""
    called = arguments[0].replace("-", "_") if arguments else ""
    modules = [import_module(f"uarch.commands.{name}") for name in _module_names() if name.rstrip("_") == called]
    return [cast(CommandModule, module) for module in modules if hasattr(module, "register")] or commands()


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    app = build_app(_needed(arguments))
    try:
        code = app(args=list(arguments), prog_name="uarch", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except InputError as error:
        return _refuse(error.on_command_line(_flags(app, arguments)))
    except typer.TyperException as error:
        return _refuse(_reworded(error))
    except BrokenPipeError:
        _discard_standard_output()
        return PIPE_CLOSED
    except OSError as error:
        if error.strerror is None:
            raise
        if error.filename is None:
            _discard_standard_output()
        return _refuse(f"{error.filename or 'output'}: {error.strerror}")
    except KeyboardInterrupt:
        return INTERRUPTED


def main() -> None:
    """Entry point of ``uarch`` and ``python -m uarch``."""
    sys.exit(run(sys.argv[1:]))


def _refuse(message: str) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return WRONG_INPUT


def _flags(app: typer.Typer, arguments: Sequence[str]) -> dict[str, str]:
    """The flag of every option of the command that is called, by the name of its parameter."""
    command: Any = typer.main.get_command(app)
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument, command)
    return {each.name: max(each.opts, key=len) for each in command.params if each.opts[0].startswith("-")}


def _reworded(error: typer.TyperException) -> str:
    """A usage error in the words of the other messages; typer quotes pydantic's."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if context is not None and (name := re.match("No such command '(.*?)'", message)):
        return f"{context.command_path} {name[1]}: no such command; {unknown_name(name[1], sorted(context.command.commands))}"
    return message.replace("Value error, ", "").replace("Input should be", "must be")


def _discard_standard_output() -> None:
    """What is still buffered cannot be written; the interpreter must not try again, and complain, when it exits."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115

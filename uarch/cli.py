"""The command line. Each command is a module of :mod:`uarch.commands`; heavy code is imported when a command runs.

Modules of that folder that have a function ``register`` are commands: no list names them. ``--help`` shows them by
:class:`uarch.commands.sections.Section`, and by name in each.

Exit codes: 0, 2 for wrong input (one line on standard error), 70 for a defect (one line that names the log with its
traceback), 130 when interrupted, 1 when the reader of a pipe left.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Protocol, cast, get_args

import typer

import uarch.commands
from uarch.commands.sections import Section
from uarch.errors import InputError, unknown_name
from uarch.files.writing import write_output

WRONG_INPUT = 2
DEFECT = 70
INTERRUPTED = 130
PIPE_CLOSED = 1
LARGEST_NUMBER = 1 << 53
"""Largest whole number that an option takes, unless it has a limit of its own: readers of JSON keep all up to it."""


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
        command = typer.main.get_command(app)
        _limit_numbers(command)
        code = command.main(args=list(arguments), prog_name="uarch", standalone_mode=False)
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
            return _report_defect(error, arguments)
        if error.filename is None:
            _discard_standard_output()
        return _refuse(f"{error.filename or 'output'}: {error.strerror}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except MemoryError:
        return _refuse("takes more memory than this computer has; smaller sizes or files take less")
    except Exception as error:
        return _report_defect(error, arguments)


def main() -> None:
    """Entry point of ``uarch`` and ``python -m uarch``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show must not stop a run
    sys.exit(run(sys.argv[1:]))


def _refuse(message: str) -> int:
    typer.echo(f"error: {_shown(message)}", err=True)
    return WRONG_INPUT


def _shown(text: str) -> str:
    """One line that any stream takes: names of files need not be Unicode."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _report_defect(error: Exception, arguments: Sequence[str]) -> int:
    """Put the traceback into a log, and say in one line what happened and what to report."""
    command = _shown(shlex.join(["uarch", *arguments]))
    try:
        log = Path(tempfile.mkdtemp(prefix="uarch-")) / "error.log"
        write_output(
            log, f"{command}\n\n{''.join(traceback.format_exception(error))}".encode(errors="backslashreplace")
        )
        where = f"with its input and {log}"
    except OSError:
        where = "with its input"
    message = (
        f"internal error: {type(error).__name__}: {_shown(str(error))[:300]}; please report {where}: {command[:300]}"
    )
    typer.echo(message, err=True)
    return DEFECT


def _limit_numbers(command: Any) -> None:
    """Give every option for a whole number without an upper limit ``LARGEST_NUMBER``, in all commands below one."""
    for parameter in command.params:
        kind = parameter.type_descriptor
        if kind.parameter_info.max is None and int in (kind.annotation, *get_args(kind.annotation)):
            kind.parameter_info.max = LARGEST_NUMBER
    for each in getattr(command, "commands", {}).values():
        _limit_numbers(each)


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

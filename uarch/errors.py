"""The one exception that means: the user's input was wrong; and the three forms that its text has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_QUOTES = "'\""
_SETTING = re.compile(r"(?<![\w.])(\w+) = (\'[^\']*\'|\"[^\"]*\"|[^\s,:;]+)")
"""An option and its value as messages write them: ``phase = 'verify'``."""


class InputError(ValueError):
    """Input that cannot be used: the message names the field, the value and what is allowed, in one line.

    Messages about an option start with ``name = value: `` and write other options like that too, with the names that they
    have in Python; :meth:`on_command_line` spells them as flags.

    The command line prints the message and exits with code 2; library users catch it as a ``ValueError``. Anything else that
    is raised is a defect of the simulator and keeps its traceback.

    Examples
    --------
    >>> import uarch
    >>> try:
    ...     uarch.load_chip("h200x")
    ... except uarch.InputError as error:
    ...     print(str(error).split(":")[0])
    chip 'h200x'
    """

    def on_command_line(self, flags: Mapping[str, str]) -> str:
        """The message with ``--flag value`` for ``name = value``; ``flags``: the flag of each option of the command called.

        A message that does not start with one of these options speaks of a file, whose fields keep their names.

        >>> InputError("draft = None: must be given with phase = 'verify'").on_command_line(
        ...     {"draft": "--draft", "phase": "--phase"}
        ... )
        '--draft: must be given with --phase verify'
        """
        text = str(self)
        first = _SETTING.match(text)
        return _SETTING.sub(lambda found: _spelled(found, flags), text) if first and first[1] in flags else text


class InternalError(RuntimeError):
    """A state that no input can lead to: a defect of the simulator. The message names the state.

    The command line exits with code 70 and says how to report it.
    """


def _spelled(found: re.Match[str], flags: Mapping[str, str]) -> str:
    name, value = found.groups()
    if name not in flags:
        return found[0]
    if value == "None":
        return flags[name]
    return f"{flags[name]} {value.strip(value[0]) if value[0] in _QUOTES else value}"


def must_be(name: str, value: object, rule: str) -> InputError:
    """The error of a value that breaks a rule, for the caller to raise.

    >>> str(must_be("page_size", 3, "a power of two"))
    'page_size = 3: must be a power of two'
    """
    return InputError(f"{name} = {value!r}: must be {rule}")


def unknown(name: str, value: str, allowed: Iterable[str]) -> InputError:
    """The error of a name that does not exist, with the nearest one that does.

    >>> str(unknown("phase", "decoded", ["prefill", "decode"]))
    "phase = 'decoded': not known; did you mean 'decode'? allowed: prefill, decode"
    """
    return InputError(f"{name} = {value!r}: not known; {unknown_name(value, list(allowed))}")


def only_with(name: str, value: object, condition: str) -> InputError:
    """The error of a value that is allowed only together with another option.

    >>> str(only_with("contexts", "azure-coding", "attention = 'flash'"))
    "contexts = 'azure-coding': allowed only with attention = 'flash'"
    """
    return InputError(f"{name} = {value!r}: allowed only with {condition}")


def unknown_name(name: str, allowed: list[str]) -> str:
    """``allowed: ...`` with the nearest name first, for messages about a name that does not exist.

    >>> unknown_name("h10", ["a100", "h100"])
    "did you mean 'h100'? allowed: a100, h100"
    """
    nearest = get_close_matches(name, allowed, n=1, cutoff=0.6)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"{hint}allowed: {', '.join(allowed)}"

"""The one owner of Numba's options: every jitted function of the project is made by :func:`kernel` or :func:`inline`.

Compiled code is cached on disk, in the directory that ``NUMBA_CACHE_DIR`` names or else in the user's cache directory,
under a key of all simulator sources: Numba itself looks only at the file that a function stands in, and would go on
using stale machine code after a change in a function that it calls.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.extending
import numpy as np
import platformdirs
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])

_njit: Any = numba.njit  # its stubs do not have the option _nrt
_overload: Any = numba.extending.overload
_intrinsic: Any = numba.extending.intrinsic
_numba_config: Any = config

_PACKAGE = Path(__file__).parent
_CALLED_BY_KERNELS = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    # What unpacks arguments for a call from outside would take a third of the time to compile.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
_INLINE = _CALLED_BY_KERNELS | {"forceinline": True}
_NOT_COMPILED = {"cli.py", "commands", "__main__.py"}


@cache
def sources_key() -> str:
    """Hash (hex, 16 digits) of the sources from which machine code is made, and of Numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        relative = path.relative_to(_PACKAGE)
        if relative.parts[0] not in _NOT_COMPILED:
            digest.update(relative.as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def cache_directory() -> Path:
    """Directory of compiled code and other derived data; a temporary one if the user's cache cannot be written."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(named) if named else Path(platformdirs.user_cache_dir("uarch"))
    directory = base / f"uarch-{sources_key()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(directory)
    except OSError:
        directory = Path(tempfile.gettempdir()) / f"uarch-{os.getuid() if hasattr(os, 'getuid') else 0}-{sources_key()}"
        directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def _our_cache_directory() -> Iterator[None]:
    """Numba reads the directory once, when a function is decorated: other users of Numba keep their own."""
    before = _numba_config.CACHE_DIR
    _numba_config.CACHE_DIR = str(cache_directory())
    try:
        yield
    finally:
        _numba_config.CACHE_DIR = before


def constant(value: int) -> int:
    """A module-level constant that Numba types as int64: it would compile a callee anew for each plain int."""
    return cast("int", np.int64(value))


def kernel(function: F) -> F:
    """Compile an entry point: integer-exact (no fastmath), without the GIL, cached on disk."""
    with _our_cache_directory():
        return cast("F", _njit(cache=True, nogil=True, error_model="numpy")(function))


def loop_kernel(function: F) -> F:
    """Compile an entry point that allocates nothing: without reference counting, which costs far more than the work."""
    with _our_cache_directory():
        return cast("F", _njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function))


def sub_kernel(function: F) -> F:
    """Compile what several kernels call and that allocates nothing, once for all of them: cached by itself."""
    with _our_cache_directory():
        return cast("F", _njit(cache=True, **_CALLED_BY_KERNELS)(function))


def inline(function: F) -> F:
    """A helper that kernels call and that allocates nothing; it is compiled and cached as part of them.

    Always inlined: the engine's state is a tuple of many arrays, and passing that costs more than most helpers do. For the
    same reason there is no compiled helper to be called from outside: the interpreter executes it as it is written.
    """

    def itself(*_: Any) -> F:
        return function

    if not _numba_config.DISABLE_JIT:
        _overload(function, jit_options=_INLINE, strict=False)(itself)
    return function


def _lowest_bit(bits: int) -> int:
    """Number of the lowest bit that is set in an int64 that is not 0."""
    return (int(bits) & -int(bits)).bit_length() - 1


def _count_trailing_zeros(_context: Any, _bits: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], numba.core.cgutils.true_bit)

    return numba.types.int64(numba.types.int64), generate


lowest_bit = cast(
    "Callable[[int], int]", _lowest_bit if _numba_config.DISABLE_JIT else _intrinsic(_count_trailing_zeros)
)


def by_type(implementations: dict[type, Callable[..., Any]]) -> Callable[[F], F]:
    """Declare a function that jitted code calls, and what it stands for by the type of its first argument.

    The types are named tuples, the implementations made by :func:`inline`; the choice is made when a kernel is compiled.
    The declared function's body is not used.
    """

    def declare(interface: F) -> F:
        @wraps(interface)
        def interpreted(*arguments: Any) -> Any:
            return implementations[type(arguments[0])](*arguments)

        @wraps(interface)
        def chosen(*types: Any) -> Any:
            return implementations[types[0].instance_class]

        if not _numba_config.DISABLE_JIT:
            _overload(interpreted, jit_options=_INLINE, strict=False)(chosen)
        return cast("F", interpreted)

    return declare

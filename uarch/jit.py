"""The one owner of Numba's options: every jitted function of the project is made by :func:`kernel` or :func:`inline`.

Compiled code is cached on disk in a directory of this user alone, under a key of all sources from which it is made: Numba
itself looks only at the file that a function stands in, and would go on using stale machine code after a change in a
function that it calls. A function outside ``uarch`` may call those of ``uarch`` and of its own sub-package, such as
``workloads.serving``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.extending
import numpy as np
from numba.core import caching, config

from uarch.files.cache_directory import cache_directory
from uarch.files.derived import say_damaged, sealed, unsealed
from uarch.files.keys import source_files

F = TypeVar("F", bound=Callable[..., Any])

_njit: Any = numba.njit  # its stubs do not have the option _nrt
_overload: Any = numba.extending.overload
_intrinsic: Any = numba.extending.intrinsic
_numba_config: Any = config
_Files: Any = caching.IndexDataCacheFile
_Cache: Any = caching.FunctionCache

_CALLED_BY_KERNELS = {
    "_nrt": False,
    # What unpacks arguments for a call from outside would take a third of the time to compile.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
_INLINE = _CALLED_BY_KERNELS | {"nogil": True, "error_model": "numpy", "forceinline": True}


class _CheckedFiles(_Files):  # type: ignore[misc]  # Numba has no types
    """Numba's files of one function, each with a checksum at its end, which its reader does not look at."""

    def save(self, key: Any, data: Any) -> None:
        """Save machine code; where there is no space, this process alone has it."""
        with suppress(OSError):
            super().save(key, data)

    def _load_index(self) -> Any:
        return super()._load_index() if self._intact(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not self._intact(self._data_path(name)):
            raise FileNotFoundError(name)  # as if it had been removed: compiled again
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        with super()._open_for_write(filepath) as file:
            content = io.BytesIO()
            yield content
            file.write(sealed(content.getvalue()))

    def _intact(self, path: str) -> bool:
        """Whether a file is as it was written, or is not there; a damaged one is removed."""
        try:
            unsealed(Path(path).read_bytes())
        except OSError:
            return True
        except ValueError:
            say_damaged(Path(path))
            with suppress(OSError):
                Path(path).unlink()
            return False
        return True


class _CheckedCache(_Cache):  # type: ignore[misc]
    """Numba's cache of one function in :func:`uarch.files.cache_directory.cache_directory`."""

    def __init__(self, function: Callable[..., Any], directory: Path) -> None:
        before = _numba_config.CACHE_DIR  # read when a function is decorated: other users of Numba keep their own
        _numba_config.CACHE_DIR = str(directory)
        try:
            super().__init__(function)
        finally:
            _numba_config.CACHE_DIR = before
        implementation = self._impl
        self._cache_file = _CheckedFiles(
            self._cache_path, implementation.filename_base, implementation.locator.get_source_stamp()
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save machine code if there is space."""
        with suppress(OSError):
            super().save_overload(sig, data)


def _compiled(function: F, **options: bool) -> F:
    """Have Numba compile a function: integer-exact (no fastmath), without the GIL, cached if there is a safe place."""
    compiled = _njit(nogil=True, error_model="numpy", **options)(function)
    directory = _directory_of(function)
    if directory is not None and not _numba_config.DISABLE_JIT:
        with suppress(OSError, RuntimeError):  # RuntimeError: no place that can be written
            compiled._cache = _CheckedCache(function, directory)
    return cast("F", compiled)


def _directory_of(function: Callable[..., Any]) -> Path | None:
    """Directory of a function's machine code: that of ``uarch``, or one inside it for the function's sub-package."""
    directory = cache_directory()
    parts = function.__module__.split(".")
    if directory is None or parts[0] == "uarch" or len(parts) < 3:
        return directory
    return directory / f"{parts[0]}-{parts[1]}-{_jitted_sources_key('/'.join(parts[:2]))}"


@cache
def _jitted_sources_key(package: str) -> str:
    """Hash of the modules of a package that import this one: no other has a part in its machine code."""
    digest = hashlib.blake2b(digest_size=16)
    for path in source_files(package, suffixes=(".py",)):
        content = path.read_bytes()
        if b"from uarch.jit import" in content:
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def constant(value: int) -> int:
    """A module-level constant that Numba types as int64: it would compile a callee anew for each plain int."""
    return cast("int", np.int64(value))


def kernel(function: F) -> F:
    """Compile an entry point."""
    return _compiled(function)


def loop_kernel(function: F) -> F:
    """Compile an entry point that allocates nothing: without reference counting, which costs far more than the work."""
    return _compiled(function, _nrt=False)


def sub_kernel(function: F) -> F:
    """Compile what several kernels call and that allocates nothing, once for all of them: cached by itself."""
    return _compiled(function, **_CALLED_BY_KERNELS)


def merged(function: F) -> F:
    """A part of a kernel that is written apart for its readers: Numba inserts it where it is called, before it compiles.

    For large functions with one caller: :func:`inline` compiles one by itself and once more in each caller, and what that
    calls likewise, at every level.
    """
    return cast("F", _njit(nogil=True, error_model="numpy", inline="always", **_CALLED_BY_KERNELS)(function))


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


@inline
def hash_bucket(key: int, buckets: int) -> int:
    """Number, from 0 to ``buckets`` - 1, that Knuth's multiplicative hash (2^32 over the golden ratio) gives an int64.

    Neighbouring keys, and keys of any stride, spread evenly; ``buckets`` need not be a power of two.
    """
    return (((key * 2654435769) & 0xFFFFFFFF) * buckets) >> 32


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

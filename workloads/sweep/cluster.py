"""Points on many machines: an executor over a Dask cluster that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uarch.errors import InputError
from uarch.files.keys import source_key

_PACKAGES = ("uarch", "kernels", "workloads", "results")
CONNECT_SECONDS = 20
"""Time that a scheduler has to answer."""


@contextmanager
def cluster_executor(scheduler: str) -> Iterator[Executor]:
    """Give the body an executor that runs functions on the workers of a Dask scheduler.

    A worker that dies costs nothing but time: the scheduler gives its points to others.

    Parameters
    ----------
    scheduler
        Address such as ``tcp://host:8786``, or the path of a scheduler file.

    Raises
    ------
    InputError
        Dask is not installed, the scheduler does not answer, or a worker has other sources of the simulator.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise InputError(
            f"scheduler = {scheduler!r}: needs Dask; install uarch[cluster], or leave --scheduler out"
        ) from error
    where: dict[str, Any] = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    connect: Any = distributed.Client  # has no types
    try:
        client = connect(**where, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        rule = "the address of a running Dask scheduler, or its scheduler file"
        raise InputError(f"scheduler = {scheduler!r}: does not answer; must be {rule}") from error
    try:
        _check_sources(client, scheduler)
        yield client.get_executor()
    finally:
        client.close(timeout=2)


def _check_sources(client: Any, scheduler: str) -> None:
    """Refuse workers that would answer from other sources."""
    here = source_key(*_PACKAGES)
    for worker, there in client.run(source_key, *_PACKAGES).items():
        if there != here:
            raise InputError(
                f"scheduler = {scheduler!r}: worker {worker} has other sources of uarch; allowed: the same"
            )

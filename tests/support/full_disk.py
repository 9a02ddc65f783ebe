"""A limit on the size of files, which stands for a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """No file grows beyond ``n_bytes`` in the body; not even the one that the tests report to, so no longer than that."""
    resource = pytest.importorskip("resource", reason="limits on the size of files need POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

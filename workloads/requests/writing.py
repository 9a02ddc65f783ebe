"""Writing requests as the generic CSV that :func:`workloads.requests.reading.read_requests` takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uarch.files.writing import output_file, text_of
from workloads.requests.records import Requests


def csv_lines(requests: Requests) -> Iterator[str]:
    """Yield the header and one line a request; arrival times are exact to the last bit."""
    hashed = requests.prefix_block_tokens > 0
    yield "arrival_s,input_tokens,output_tokens" + (",prefix_blocks" if hashed else "")
    rows = zip(
        requests.arrival_seconds.tolist(), requests.input_tokens.tolist(), requests.output_tokens.tolist(), strict=True
    )
    for request, (arrival, prompt, output) in enumerate(rows):
        blocks = "," + " ".join(map(str, requests.prefix_of(request).tolist())) if hashed else ""
        yield f"{arrival!r},{prompt},{output}{blocks}"


def write_requests(requests: Requests, path: Path) -> None:
    """Write ``requests`` to ``path``, complete or not at all; ``OSError`` if that is impossible."""
    with output_file(path) as file, text_of(file) as text:
        text.writelines(f"{line}\n" for line in csv_lines(requests))

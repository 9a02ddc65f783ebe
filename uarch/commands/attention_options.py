"""Options of attention that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from kernels.masks.registry import ALLOWED

MaskOption = Annotated[
    str | None,
    typer.Option(
        "--mask",
        metavar="KIND",
        help=f"Scores that are kept: {ALLOWED}.",
    ),
]
ContextsOption = Annotated[
    str | None,
    typer.Option(
        "--contexts",
        metavar="FILE_OR_DIST",
        help="Length of each sequence: a file with one a line, azure-conversation, azure-coding, uniform:LOW,HIGH, constant:N.",
    ),
]

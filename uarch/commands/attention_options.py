"""Options of attention that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from kernels.masks.registry import ALLOWED
from uarch.datatypes import Datatype

MaskOption = Annotated[
    str | None,
    typer.Option(
        "--mask",
        metavar="KIND",
        help=f"Scores that are kept: {ALLOWED}.",
    ),
]
QHeadsOption = Annotated[int, typer.Option("--q-heads", help="Query heads.")]
KvHeadsOption = Annotated[int, typer.Option("--kv-heads", help="Key/value heads; must divide the query heads.")]
HeadDimOption = Annotated[int, typer.Option("--head-dim", help="Width of a head.")]
KvDtypeOption = Annotated[
    Datatype | None,
    typer.Option("--kv-dtype", help="Of the stored keys and values; if left out, that of all operands."),
]
PageSizeOption = Annotated[
    int, typer.Option("--page-size", help="Tokens of a page of the KV cache; 0: a sequence lies together.")
]
ContextsOption = Annotated[
    str | None,
    typer.Option(
        "--contexts",
        metavar="FILE_OR_DIST",
        help="Length of each sequence: a file with one a line, azure-conversation, azure-coding, uniform:LOW,HIGH, constant:N.",
    ),
]

"""The options of a run of a model, each declared once.

The command line (``uarch run``), the signature of :func:`uarch.simulate`, the ``workload`` of a trace and the reference in the
README of this folder are made from :class:`RunOptions`. To add one: a field here and its line in :class:`GivenOptions`, which
type checkers need; then the mechanism that reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

from kernels.masks.registry import ALLOWED
from uarch.datatypes import Datatype, MatrixDatatype
from uarch.errors import must_be
from workloads.settings.choices import Fidelity, Logits, Schedule
from workloads.settings.option_records import Option, check_options

LARGEST_SEED = 2**63 - 1
"""A trace stores the seed as a signed integer of 64 bits."""


class GivenOptions(TypedDict, total=False):
    """Names and types of :class:`RunOptions`, for callers who give some of them by keyword."""

    tp: int
    ep: int
    pp: int
    micro_batches: int
    overlap_chunks: int
    dtype: MatrixDatatype
    weight_dtype: Datatype | None
    group_size: int | None
    weight_sparsity: str | None
    expert_load: str
    logits: Logits
    mask: str | None
    kv_dtype: Datatype | None
    page_size: int
    draft: str | None
    contexts: str | None
    step_file: str | None
    attention: Schedule
    fidelity: Fidelity
    seed: int


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a run that have a default; a value that is not allowed raises :class:`uarch.InputError`."""

    tp: Annotated[int, Option("Degree of tensor parallelism: chips that share every layer.", is_size=True)] = 1
    ep: Annotated[
        int,
        Option(
            "Degree of expert parallelism: groups of --tp chips that share the batch and the experts.", is_size=True
        ),
    ] = 1
    pp: Annotated[int, Option("Pipeline stages, each of --tp x --ep chips.", is_size=True)] = 1
    micro_batches: Annotated[
        int, Option("Parts of the batch that follow each other through the stages.", is_size=True)
    ] = 1
    overlap_chunks: Annotated[
        int, Option("All-reduces behind the products before them, in this many chunks; 1: no overlap.", is_size=True)
    ] = 1
    dtype: Annotated[
        MatrixDatatype,
        Option("Datatype of activations, and of weights and KV cache unless they have one of their own."),
    ] = "fp16"
    weight_dtype: Annotated[
        Datatype | None, Option("Datatype of the weights in memory, with scales; if left out, --dtype without scales.")
    ] = None
    group_size: Annotated[
        int | None, Option("Weights that share a scale; if left out, 128 of 4 bits, 32 of mxfp4, else a whole column.")
    ] = None
    weight_sparsity: Annotated[
        str | None, Option("At most N of every M consecutive weights are kept.", metavar="N:M")
    ] = None
    expert_load: Annotated[
        str,
        Option(
            "Tokens of the experts: balanced, uniform or zipf:S (drawn with --seed), or a file of one share for each.",
            metavar="LOAD",
        ),
    ] = "uniform"
    logits: Annotated[Logits, Option("Tokens of each sequence that the LM head sees.")] = "last"
    mask: Annotated[
        str | None,
        Option(f"Scores that are kept in layers without a window of their own: {ALLOWED}.", metavar="KIND"),
    ] = None
    kv_dtype: Annotated[
        Datatype | None, Option("Datatype of the stored keys and values; if left out, that of all operands.")
    ] = None
    page_size: Annotated[int, Option("Tokens of a page of the KV cache; 0: a sequence lies together.")] = 0
    draft: Annotated[
        str | None, Option("What phase verify checks: chain:K drafted tokens, or tree:FILE.", metavar="DRAFT")
    ] = None
    contexts: Annotated[
        str | None,
        Option(
            "Length of each sequence: a file with one a line, azure-conversation, azure-coding, uniform:LOW,HIGH, "
            "constant:N.",
            metavar="FILE_OR_DIST",
        ),
    ] = None
    step_file: Annotated[
        str | None,
        Option(
            "Sequences of phase step: a CSV file with a line new_tokens,context_tokens for each; the context includes the "
            "new tokens.",
            metavar="FILE",
        ),
    ] = None
    attention: Annotated[Schedule, Option("Streamed, or with the scores through memory.")] = "flash"
    fidelity: Annotated[
        Fidelity,
        Option("Closed forms; LLMCompass's block model; the engine, its DRAM serving whole tiles, or bursts."),
    ] = "tile"
    seed: Annotated[
        int, Option("Draws token ids, their experts, contexts and random masks, and the order of pages.")
    ] = 0

    def __post_init__(self) -> None:
        """Raise :class:`uarch.InputError` for a value that is not allowed."""
        check_options(self)
        if not 0 <= self.seed <= LARGEST_SEED:
            raise must_be("seed", self.seed, f"at least 0 and at most {LARGEST_SEED}")

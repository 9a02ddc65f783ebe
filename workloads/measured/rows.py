"""Rows of measured kernels: the columns of the CSV files, one schema per suite."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from uarch.datatypes import MatrixDatatype
from uarch.errors import unknown_name
from workloads.settings.choices import Residency
from workloads.single.vector import VECTOR_KERNELS

Size = Annotated[int, Field(ge=1, le=1 << 40)]
Count = Annotated[int, Field(ge=0, le=1 << 40)]
Microseconds = Annotated[float, Field(gt=0, le=1e12)]


def _known_kernel(op: str) -> str:
    if op not in VECTOR_KERNELS:
        raise ValueError(f"must be one of these: {unknown_name(op, list(VECTOR_KERNELS))}")
    return op


class Measurement(BaseModel):
    """Columns that rows of every suite may have; empty cells count as absent, other columns are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str = ""
    """Name of the kernel among others, such as in a table of predictions."""
    chip: str = ""
    source: str = ""
    time_us: Microseconds | None = None
    """Measured time; None in a suite of kernels that nobody has timed."""
    dtype: MatrixDatatype = "fp16"
    use: str = "A"
    """Mark by which rows are selected: A to validate against, B with care."""
    l2: Residency | None = None
    """What L2 held at the start; None: as the source says."""

    @property
    def measured_us(self) -> float:
        """Measured time in microseconds; raises ``ValueError`` if the row has none."""
        if self.time_us is None:
            raise ValueError(f"no time_us of {self}")
        return self.time_us


class GemmRow(Measurement):
    """Matrix product C[M, N] = A[M, K] W[K, N]."""

    M: Size
    N: Size
    K: Size


class AttentionRow(Measurement):
    """Attention of ``batch`` sequences; ``mixed``: one prefill of (q_len, kv_len) and dec_n decodes of dec_kv keys each."""

    phase: Literal["prefill", "decode", "mixed"]
    batch: Size
    q_heads: Size
    kv_heads: Size
    head_dim: Size
    q_len: Size
    kv_len: Size
    causal: Literal["0", "1"] = "1"
    dec_n: Count = 0
    dec_kv: Count = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.q_heads % self.kv_heads:
            raise ValueError(f"kv_heads = {self.kv_heads} must divide q_heads = {self.q_heads}")
        if self.q_len > self.kv_len:
            raise ValueError(
                f"q_len = {self.q_len} must be at most kv_len = {self.kv_len}, which includes the new tokens"
            )
        if self.phase == "decode" and self.q_len != 1:
            raise ValueError(f"q_len = {self.q_len} must be 1 in decode")
        if (self.dec_n > 0) != (self.dec_kv > 0) or (self.dec_n > 0 and self.phase != "mixed"):
            raise ValueError("dec_n and dec_kv must be given together, and in phase mixed only")
        return self


class ElementwiseRow(Measurement):
    """Vector kernel: one pass over ``rows x cols`` elements."""

    op: Annotated[str, AfterValidator(_known_kernel)]
    rows: Size
    cols: Size


class CollectiveRow(Measurement):
    """Collective of ``devices`` chips over a message of ``bytes``."""

    collective: Literal["all_reduce"]
    devices: Annotated[int, Field(ge=2, le=1024)]
    bytes: Size


class TransformerRow(Measurement):
    """Operator of a layer, ``count`` times: a product, a batch of products (``bmm``), a vector kernel, or an all-reduce over
    the chips that ``kind`` counts.
    """

    op: str
    kind: Annotated[str, Field(pattern=r"^(matmul|bmm|softmax|layernorm|gelu|allreduce_([2-9]|[1-9]\d{1,2})gpu)$")]
    model: str = ""
    phase: str = ""
    count: Size = 1
    bmm_batch: Size = 1
    rows_M: Size  # noqa: N815 - the CSV's name
    cols_N: Size  # noqa: N815
    K: Count = 0
    note: str = ""


ROW_TYPES: dict[str, type[Measurement]] = {
    "gemm": GemmRow,
    "attention": AttentionRow,
    "elementwise": ElementwiseRow,
    "collective": CollectiveRow,
    "transformer": TransformerRow,
}
SUITES = tuple(ROW_TYPES)

"""Where tensors lie in device memory: one address space per run, so that a producer's output and its consumer's input
are the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from uarch.program.records import GRANULE_BYTES, GRANULE_ROW_BYTES, GRANULE_ROWS, Residence


@dataclass(frozen=True)
class Tensor:
    """A matrix ``batch x rows x cols`` in device memory; rows of all batch entries lie one after the other."""

    name: str
    base_address: int
    first_granule: int
    batch: int
    rows: int
    cols: int
    element_bits: int
    granule_rows: int
    """Rows of a granule, a power of two; ``granule_cols``, its columns, is one too."""
    granule_cols: int
    residence: Residence = Residence.LOCAL

    @property
    def size_bytes(self) -> int:
        """Bytes of all elements."""
        return self.batch * self.rows * self.cols * self.element_bits // 8

    @property
    def n_granules(self) -> int:
        """Number of granules that cover the tensor."""
        return -(-self.batch * self.rows // self.granule_rows) * -(-self.cols // self.granule_cols)

    @property
    def end_granule(self) -> int:
        """First granule behind the tensor."""
        return self.first_granule + self.n_granules

    @property
    def end_address(self) -> int:
        """First address behind the tensor at which another can begin."""
        size_bytes = self.n_granules * self.granule_rows * self.granule_cols * self.element_bits // 8
        return self.base_address + -(-size_bytes // GRANULE_BYTES) * GRANULE_BYTES

    def as_rows(self) -> Tensor:
        """View of the tensor's bytes with all rows in one batch entry."""
        return replace(self, batch=1, rows=self.batch * self.rows)

    def in_batches_of(self, rows: int) -> Tensor:
        """View of the tensor's bytes as batch entries of ``rows`` rows each."""
        total = self.batch * self.rows
        if total % rows:
            raise ValueError(f"{self.name}: {total} rows cannot be split into batch entries of {rows}")
        return replace(self, batch=total // rows, rows=rows)

    def at_peer(self, peer: int, column_shift: int) -> Tensor:
        """Tensor of a peer that corresponds to this one.

        While this chip reads column c there, a peer reads column ``c + column_shift`` here; a shift that is not a whole
        number of granules is rounded to one.
        """
        granules = round(column_shift / self.granule_cols)
        shifted_bytes = granules * self.granule_rows * self.granule_cols * self.element_bits // 8
        return replace(
            self,
            name=f"{self.name}@{peer}",
            base_address=self.base_address + shifted_bytes,
            first_granule=self.first_granule + granules,
            residence=Residence.REMOTE,
        )

    def record(self) -> tuple[int, ...]:
        """The row of the program's tensor table."""
        return (
            self.base_address,
            self.first_granule,
            self.batch,
            self.rows,
            self.cols,
            self.element_bits,
            self.granule_rows.bit_length() - 1,
            self.granule_cols.bit_length() - 1,
            -(-self.cols // self.granule_cols),
            int(self.residence),
        )


class AddressSpace:
    """Hands out addresses and granule numbers, one tensor after the other."""

    def __init__(self) -> None:
        self._next_address = 0
        self._next_granule = 0

    @property
    def n_granules(self) -> int:
        """Granules handed out so far."""
        return self._next_granule

    @property
    def size_bytes(self) -> int:
        """Bytes handed out so far, each tensor padded to whole granules."""
        return self._next_address

    def allocate(
        self, name: str, rows: int, cols: int, element_bits: int, *, batch: int = 1, granule_rows: int = GRANULE_ROWS
    ) -> Tensor:
        """A new tensor. ``granule_rows`` = 1 suits tables of which single rows are read: long, flat granules."""
        if min(rows, cols, batch) < 1:
            raise ValueError(f"tensor {name}: {batch} x {rows} x {cols}; every size must be at least 1")
        granule_rows = min(granule_rows, 1 << (batch * rows - 1).bit_length())
        row_bytes = GRANULE_BYTES if granule_rows == 1 < batch * rows else GRANULE_ROW_BYTES
        granule_cols = max(1, row_bytes * 8 // element_bits)
        tensor = Tensor(
            name,
            self._next_address,
            self._next_granule,
            batch,
            rows,
            cols,
            element_bits,
            granule_rows,
            granule_cols,
        )
        self._next_address, self._next_granule = tensor.end_address, tensor.end_granule
        return tensor

    def scratch(
        self, name: str, rows: int, cols: int, element_bits: int, *, batch: int = 1, after: Tensor | None = None
    ) -> Tensor:
        """Workspace behind all tensors: valid during one kernel; the next kernel's workspace lies at the same place.

        ``after``: another scratch tensor of the same kernel, behind which this one is to lie.
        """
        mark = self._next_address, self._next_granule
        if after is not None:
            self._next_address = after.end_address
            self._next_granule = after.end_granule
        tensor = self.allocate(name, rows, cols, element_bits, batch=batch)
        self._next_address, self._next_granule = mark
        return tensor

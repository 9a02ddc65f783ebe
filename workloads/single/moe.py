"""A mixture of experts alone on a chip: from the normed stream to the weighted sum, cold L2, no launch overhead."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.gemm.weights import plain, weight_format
from kernels.program.address_space import AddressSpace
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import Datatype, MatrixDatatype
from uarch.errors import must_be
from workloads.layers.buffers import allocate
from workloads.layers.context import LayerContext
from workloads.layers.experts import EXPERTS
from workloads.layers.layout import Layout
from workloads.models.model import Experts, Model
from workloads.models.parallel import check_parallel
from workloads.running.kernel_run import KernelRun, Mapped, run_programs
from workloads.settings.choices import KernelFidelity
from workloads.settings.phase import Phase, check_positive
from workloads.settings.stack import load_stack
from workloads.single.gemm import check_options, check_space, mapper_for


@dataclass(frozen=True)
class MoeRun:
    """What a mixture of experts took on one chip of ``tp x ep``, the one that receives most rows."""

    kernel: KernelRun
    expert_rows: tuple[int, ...]
    """Rows of each expert that this chip holds."""
    imbalance: float
    """Rows that it computes, over the mean of all chips."""


def simulate_moe(
    chip: Chip | str,
    *,
    tokens: int,
    experts: int,
    top_k: int,
    hidden: int,
    ffn: int,
    shared_ffn: int = 0,
    tp: int = 1,
    ep: int = 1,
    expert_load: str = "uniform",
    dtype: MatrixDatatype = "fp16",
    fidelity: KernelFidelity = "tile",
    weight_dtype: Datatype | None = None,
    group_size: int | None = None,
    weight_sparsity: str | None = None,
    seed: int = 0,
) -> MoeRun:
    """Run ``tokens`` (of all groups together) through ``experts`` gated networks of ``hidden x ffn``, ``top_k`` for each.

    ``shared_ffn``: width of the experts that every token visits. ``tp`` chips split the columns of every expert, ``ep``
    groups of them the experts and the tokens. ``expert_load``: see :func:`workloads.settings.expert_load.parse_load`. The
    others as in :func:`workloads.single.gemm.simulate_gemm`.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity)
    tokens, experts, top_k, hidden, ffn, tp, ep = check_positive(
        tokens=tokens, experts=experts, top_k=top_k, hidden=hidden, ffn=ffn, tp=tp, ep=ep
    )
    if top_k > experts:
        raise must_be("top_k", top_k, f"at most experts = {experts}")
    if tokens % ep:
        raise must_be("tokens", tokens, f"a multiple of ep = {ep}, whose groups share them out")
    if shared_ffn:
        (shared_ffn,) = check_positive(shared_ffn=shared_ffn)
    model = _model(Experts(experts, top_k, ffn, shared_ffn, 0, False), hidden, tp)
    shard = check_parallel(model, tp, ep)
    form = weight_format(chip, dtype, weight_dtype=weight_dtype, group_size=group_size, sparsity=weight_sparsity)
    work = Phase("decode", tokens, 1, tp=tp, dtype=dtype, fidelity=fidelity, ep=ep, expert_load=expert_load, seed=seed)
    layout = Layout(AddressSpace(), model, shard, work.of_group(), form)
    buffers = allocate(layout)
    mapper = mapper_for(chip, dtype, fidelity)
    context = LayerContext(chip, load_stack("graph"), mapper, layout, buffers)
    routing = buffers.of(EXPERTS).routing
    shape = f"{tokens} x top {top_k} of {experts} x {hidden} x {ffn}"
    shape += f", weights {form}" if form != plain(dtype) else ""
    check_space(chip, f"moe {shape}", buffers.space)
    operators = EXPERTS.operators_into(context, buffers.layers[0], buffers.delta)
    mapped: Mapped = [(program, None) for operator in operators for program in operator.programs]
    return MoeRun(run_programs(chip, "moe", shape, fidelity, mapped), routing.rows, routing.imbalance)


def _model(experts: Experts, hidden: int, tp: int) -> Model:
    """A model of one layer whose attention is as small as can be."""
    return Model(
        name="moe",
        architecture="",
        n_layers=1,
        hidden=hidden,
        q_heads=tp,
        kv_heads=tp,
        head_dim=1,
        ffn=tp,
        vocab=1,
        norm="rmsnorm",
        norm_eps=1e-6,
        activation="silu",
        gated_ffn=True,
        positions="alibi",
        max_positions=None,
        tied_embeddings=True,
        attention_bias=False,
        ffn_bias=False,
        embedding_norm=False,
        experts=experts,
    )

"""A mixture of experts from router to weighted sum, on one chip and over several, replayed against NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.experts.all_to_all import Exchange, all_to_all
from kernels.experts.permutation import permute, unpermute
from kernels.experts.router import top_k
from kernels.experts.routing import Routing, spread_evenly
from kernels.program.address_space import AddressSpace
from kernels.replay.interpreter import replay
from tests.support.replayed import assert_replayed, matrix
from tests.support.small_programs import small_chip
from uarch.engine.execute import execute
from uarch.engine.roofline import compulsory_traffic

Matrix = npt.NDArray[np.float64]

hidden_sizes = st.sampled_from([1, 31, 64, 200])
seeds = st.integers(0, 2**32 - 1)


@st.composite
def routings(draw: st.DrawFn) -> Routing:
    """Any number of tokens; most experts may get none."""
    n_experts = draw(st.integers(1, 5))
    tokens, k = draw(st.integers(1, 40)), draw(st.integers(1, min(4, n_experts)))
    random = np.random.default_rng(draw(seeds))
    popularity = random.exponential(size=n_experts) ** draw(st.sampled_from([0, 3]))
    scores = random.gumbel(size=(tokens, n_experts)) + np.log(popularity + 1e-9)
    return Routing(np.argsort(-scores, axis=1)[:, :k], n_experts)


def softmax(x: Matrix) -> Matrix:
    weights = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@given(st.integers(1, 150), st.integers(1, 64), st.integers(1, 8), seeds)
def test_the_router_finds_the_best_experts(tokens: int, experts: int, k: int, seed: int) -> None:
    k, space = min(k, experts), AddressSpace()
    scores = space.allocate("scores", tokens, experts, 32)
    out = space.allocate("out", tokens, 2 * k, 32)
    x = matrix(seed, tokens, experts)
    best = np.argsort(-x, axis=1)[:, :k]
    weights = softmax(np.take_along_axis(x, best, axis=1))
    expected = np.concatenate([weights, best.astype(np.float64)], axis=1)
    assert_replayed(top_k("router", small_chip(), scores, out, k=k), {"scores": x}, {"out": expected})


@given(routings(), hidden_sizes, st.booleans(), seeds)
def test_copies_go_out_and_come_back(routing: Routing, hidden: int, has_shared: bool, seed: int) -> None:
    space, copies = AddressSpace(), routing.tokens * routing.top_k
    x, out, shared = (space.allocate(name, routing.tokens, hidden, 16) for name in ("x", "out", "shared"))
    rows = space.allocate("rows", copies, hidden, 16)
    weights = space.allocate("weights", routing.tokens, 2 * routing.top_k, 32)
    values, gates = matrix(seed, routing.tokens, hidden), matrix(seed + 1, routing.tokens, 2 * routing.top_k)
    beside, results = matrix(seed + 2, routing.tokens, hidden), matrix(seed + 3, copies, hidden)

    sorted_copies = np.concatenate(
        [values[np.flatnonzero((routing.experts == expert).any(axis=1))] for expert in range(routing.n_experts)]
    )
    assert_replayed(permute("permute", small_chip(), routing, x, rows), {"x": values}, {"rows": sorted_copies})

    expected = np.einsum("tkh,tk->th", results[routing.row_of_copy], gates[:, : routing.top_k])
    program = unpermute("unpermute", small_chip(), routing, rows, weights, out, shared=shared if has_shared else None)
    memory = {"rows": results, "weights": gates, "shared": beside}
    assert_replayed(program, memory, {"out": expected + (beside if has_shared else 0)})


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), seeds)
def test_all_ranks_get_their_experts_rows_and_their_own_results_back(
    ranks: int, per_rank: int, k: int, tokens: int, seed: int
) -> None:
    """Experts double every row on their way; so do the copies that come back."""
    n_experts, hidden = ranks * per_rank, 40
    k = min(k, n_experts)
    drawn = [Routing(np.argsort(matrix(seed + r, tokens, n_experts), axis=1)[:, :k], n_experts) for r in range(ranks)]
    exchange = Exchange(tuple(drawn))
    space, copies = AddressSpace(), tokens * k
    most = max(sum(exchange.rows(rank)) for rank in range(ranks))
    sent, back = (space.allocate(name, copies, hidden, 16) for name in ("sent", "back"))
    received = space.allocate("received", most, hidden, 16)
    x = {"sent": [matrix(seed + rank, copies, hidden) for rank in range(ranks)]}
    x |= {
        name: [np.full((rows, hidden), np.nan) for _ in range(ranks)]
        for name, rows in (("received", most), ("back", copies))
    }

    for rank in filter(lambda rank: any(exchange.rows(rank)), range(ranks)):
        program = all_to_all("dispatch", small_chip(), exchange.dispatch(rank), sent, received, rank=rank, ranks=ranks)
        counts = replay(program, _of_rank(x, rank, ranks))["received"]
        assert (counts[: sum(exchange.rows(rank))] == 1).all()
        assert not counts[sum(exchange.rows(rank)) :].any()
        expert = np.concatenate([np.repeat(np.arange(n_experts), routing.rows) for routing in drawn])
        mine = (expert // exchange.experts_per_rank) == rank
        every = np.concatenate(x["sent"])[mine][np.argsort(expert[mine], kind="stable")]
        np.testing.assert_array_equal(x["received"][rank][: len(every)], every)
    for rank in range(ranks):
        x["received"][rank] *= 2
    for rank in range(ranks):
        program = all_to_all("combine", small_chip(), exchange.combine(rank), received, back, rank=rank, ranks=ranks)
        replay(program, _of_rank(x, rank, ranks))
        np.testing.assert_array_equal(x["back"][rank], 2 * x["sent"][rank])


def test_a_rank_without_rows_has_nothing_to_exchange() -> None:
    exchange = Exchange((Routing(np.zeros((3, 1), np.int64), 2),) * 2)
    x = AddressSpace().allocate("x", 3, 64, 16)
    with pytest.raises(ValueError, match="rank 1 receives no rows"):
        all_to_all("dispatch", small_chip(), exchange.dispatch(1), x, x, rank=1, ranks=2)


def _of_rank(matrices: dict[str, list[Matrix]], rank: int, ranks: int) -> dict[str, Matrix]:
    memory = {name: of_rank[rank] for name, of_rank in matrices.items()}
    for name, of_rank in matrices.items():
        memory |= {f"{name}@{peer}": of_rank[peer] for peer in range(ranks) if peer != rank}
    return memory


def test_bytes_of_an_exchange_cross_the_link_once() -> None:
    """128 tokens a rank, two of eight experts each, four ranks: three quarters of 256 rows of 512 bytes come from peers."""
    even = spread_evenly(np.full(8, 32), 128, 2)
    exchange = Exchange((even,) * 4)
    space = AddressSpace()
    x, out = (space.allocate(name, 256, 256, 16) for name in ("x", "out"))
    program = all_to_all("dispatch", small_chip(), exchange.dispatch(1), x, out, rank=1, ranks=4)
    assert compulsory_traffic(program).remote_bytes == 192 * 512
    result, _ = execute(small_chip(), program)
    payload = small_chip().link.bandwidth_bytes_per_second * 0.8  # 128 of 160 bytes
    assert result.seconds > small_chip().link.latency_seconds + 192 * 512 / payload


@given(st.integers(1, 30), st.integers(1, 4), st.lists(st.integers(0, 30), min_size=1, max_size=9), st.data())
def test_given_rows_are_dealt_to_different_tokens(tokens: int, k: int, rows: list[int], data: st.DataObject) -> None:
    rows = [min(count, tokens) for count in rows]
    if sum(rows) != tokens * k:
        with pytest.raises(ValueError, match="are no routing"):
            spread_evenly(np.array(rows), tokens, k)
        rows = [tokens] * k + [0] * data.draw(st.integers(0, 3))
    routing = spread_evenly(np.array(rows), tokens, k)
    assert list(routing.rows) == rows
    assert all(len(set(experts)) == k for experts in routing.experts.tolist())

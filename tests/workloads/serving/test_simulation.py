"""What a cluster refuses, when a run ends early, and two machines whose times can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.small_clusters import naive_seconds, table
from uarch.errors import InputError
from workloads.requests.records import Requests
from workloads.serving.simulation import Cluster, Limits, Machine, Reallocation, Transfer, serve

TABLE = table(1.0)
SECONDS = naive_seconds(1.0)
ALONE = Machine("both", "vllm-v1", 400, max_sequences=8, max_batched_tokens=64)


def requests(*rows: tuple[float, int, int]) -> Requests:
    arrivals, prompts, outputs = zip(*rows, strict=True)
    return Requests(np.array(arrivals, np.float64), np.array(prompts, np.int64), np.array(outputs, np.int64))


def test_one_request_on_paper() -> None:
    """A prompt of 100 tokens in chunks of 64 and 36, then two decodes at contexts of 101 and 102."""
    served = serve(Cluster((ALONE,), (TABLE,)), requests((2.0, 100, 3)))
    chunks = SECONDS(1, 0, 0, 64, 64 * 65 / 2) + SECONDS(1, 0, 0, 36, 36 * 64 + 36 * 37 / 2)
    (row,) = served.sequences
    assert row["first_token_seconds"] == pytest.approx(2.0 + chunks)
    decodes = SECONDS(1, 1, 101, 0, 0) + SECONDS(1, 1, 102, 0, 0)
    assert row["last_token_seconds"] == pytest.approx(2.0 + chunks + decodes)
    assert served.machines["peak_blocks"].tolist() == [-(-102 // 16)]
    assert served.gap_seconds_total == pytest.approx(decodes)


@pytest.mark.parametrize("layerwise", [False, True])
def test_a_transfer_on_paper(layerwise: bool) -> None:
    """60 tokens of 1000 bytes over 1 MB/s: 60 ms after the prefill; layer by layer, of 6 layers, what 5/6 of it left over."""
    prefill = replace(
        ALONE, role="prefill", kv_bytes_per_token=1e3, layers=6, link_bytes_per_second=1e6, policy="splitwise"
    )
    cluster = Cluster((prefill, replace(prefill, role="decode")), (TABLE,), transfer=Transfer(layerwise, True, 0.004))
    (row,) = serve(cluster, requests((0.0, 60, 2))).sequences
    computing = SECONDS(1, 0, 0, 60, 60 * 61 / 2)
    left = max(0.01, 0.06 - computing * 5 / 6) if layerwise else 0.06
    assert row["first_token_seconds"] == pytest.approx(computing)
    assert row["transfer_seconds"] == pytest.approx(0.004 + left)
    assert row["last_token_seconds"] == pytest.approx(computing + 0.004 + left + SECONDS(1, 1, 61, 0, 0))


def test_shared_links_serve_one_cache_after_the_other() -> None:
    """Two prompts prefilled in one step: the second cache waits for the first on a shared link, not on private ones."""
    prefill = replace(ALONE, role="prefill", kv_bytes_per_token=1e3, link_bytes_per_second=1e5)
    machines = (prefill, replace(prefill, role="decode"))
    work = requests((0.0, 20, 2), (0.0, 20, 2))
    shared, private = (
        serve(Cluster(machines, (TABLE,), transfer=Transfer(shared=shared)), work).sequences["transfer_seconds"]
        for shared in (True, False)
    )
    np.testing.assert_allclose(shared, [0.2, 0.4])
    np.testing.assert_allclose(private, [0.2, 0.2])


def test_a_run_is_given_up_once_too_many_requests_are_late() -> None:
    work = requests(*((0.01 * i, 50, 20) for i in range(50)))
    limit = np.full(50, 0.2)
    for allowed, outcome in ((5, "gave up"), (50, "complete"), (-1, "complete")):
        served = serve(Cluster((ALONE,), (TABLE,)), work, Limits(first_token_seconds=limit, allowed_late=allowed))
        assert served.outcome == outcome
    slow = Limits(later_token_seconds=np.full(50, 1e-6), allowed_late=0)
    assert serve(Cluster((ALONE,), (TABLE,)), work, slow).outcome == "gave up"


def test_a_run_ends_with_its_time() -> None:
    work = requests(*((0.01 * i, 50, 20) for i in range(50)))
    served = serve(Cluster((ALONE,), (TABLE,)), work, Limits(end_seconds=0.3))
    assert served.outcome == "time limit"
    assert served.end_seconds <= 0.3
    assert (served.sequences["last_token_seconds"] <= 0.3).all()


@pytest.mark.parametrize(
    ("machine", "cluster", "expected"),
    [
        ({"policy": "fifo"}, {}, "machine 0: policy = 'fifo': not known"),
        ({"role": "help"}, {}, "machine 0: role = 'help': not known"),
        ({}, {"prefill_dispatch": "random"}, "prefill_dispatch = 'random': not known"),
        ({}, {"reallocation": Reallocation("often")}, "reallocation = 'often': not known"),
        ({}, {"reallocation": Reallocation("hysteresis")}, "needs machines in the roles prefill and decode"),
        ({"role": "decode"}, {}, "no machine takes prefills"),
        ({"role": "prefill"}, {}, "no machine decodes"),
        ({"max_sequences": 200}, {}, "machine 0: a step can have 200 sequences; its table of step times ends at 64"),
        (
            {"max_batched_tokens": 9000},
            {},
            "machine 0: a step can have 9000 tokens; its table of step times ends at 4000",
        ),
        ({"kv_tokens": 100}, {}, "request 2: 90 input and 20 output tokens can never fit: pool 1 has KV memory for 96"),
    ],
)
def test_what_cannot_be_is_refused(machine: dict[str, Any], cluster: dict[str, Any], expected: str) -> None:
    work = requests((0.0, 10, 10), (0.0, 90, 20))
    with pytest.raises(InputError, match=expected):
        serve(Cluster((replace(ALONE, **machine),), (TABLE,), **cluster), work)


def test_blocks_must_divide_the_units_of_the_prefix_cache() -> None:
    work = Requests(np.zeros(1), np.full(1, 60), np.full(1, 2), np.array([1]), np.array([0, 1]), 40)
    with pytest.raises(InputError, match="block_tokens = 16: must divide the 40 tokens"):
        serve(Cluster((replace(ALONE, prefix_cache=True),), (TABLE,)), work)

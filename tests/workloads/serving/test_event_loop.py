"""The event loop against a naive cluster that executes every step, and what must hold for every cluster.

Random clusters go through every module of the loop: arrivals (``dispatch``, ``reallocation``, ``queues``), steps and runs
of them (``steps``, ``progress``, ``completion``, ``gaps``), memory (``kv_blocks``), ``transfers``, ``samples``, and the order
of events (``event_heap``, ``event_loop``); and every policy of the ``registry``: ``vllm_v1``, ``sarathi``, ``orca`` and
``splitwise``, with what they have in ``common``.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.support.small_clusters import clusters, naive
from workloads.requests.records import Requests
from workloads.serving.loop.records import FINISHED
from workloads.serving.simulation import Cluster, Served, serve

RELATIVE = 1e-9
"""A run's end is a sum in closed form, the naive cluster adds step by step: they differ by rounding."""


@given(clusters())
def test_every_event_happens_when_it_does_step_by_step(case: tuple[Cluster, Requests]) -> None:
    cluster, work = case
    served = serve(cluster, work)
    slow = naive(cluster, work)
    slow.run()
    assert served.outcome == "complete"
    for fast, expected in (
        ("admitted_seconds", [r.admitted for r in slow.sequences]),
        ("first_token_seconds", [r.first_token for r in slow.sequences]),
        ("last_token_seconds", [r.last_token for r in slow.sequences]),
        ("longest_gap_seconds", [r.longest_gap for r in slow.sequences]),
    ):
        np.testing.assert_allclose(served.sequences[fast], expected, rtol=RELATIVE, atol=1e-10, err_msg=fast)
    assert served.sequences["preemptions"].tolist() == [r.preemptions for r in slow.sequences]
    assert served.machines["steps"].tolist() == [server.steps for server in slow.servers]
    np.testing.assert_allclose(served.machines["busy_seconds"], [server.busy for server in slow.servers], rtol=1e-8)


@given(clusters())
def test_no_request_is_lost_and_tokens_are_conserved(case: tuple[Cluster, Requests]) -> None:
    cluster, work = case
    served = serve(cluster, work)
    sequences, machines = served.sequences, served.machines
    assert (sequences["state"] == FINISHED).all()
    np.testing.assert_array_equal(sequences["generated_tokens"], work.output_tokens)
    np.testing.assert_array_equal(sequences["computed_tokens"], work.input_tokens + work.output_tokens - 1)
    assert (sequences["admitted_seconds"] >= work.arrival_seconds).all()
    assert (sequences["first_token_seconds"] > sequences["admitted_seconds"]).all()
    assert (sequences["last_token_seconds"] >= sequences["first_token_seconds"]).all()
    assert served.gaps.sum() == (work.output_tokens - 1).sum()
    computed = machines["prefilled_tokens"].sum() + machines["decoded_tokens"].sum() + sequences["cached_tokens"].sum()
    needed = (work.input_tokens + work.output_tokens - 1).sum()
    assert computed >= needed
    if not sequences["preemptions"].any():
        assert computed == needed


@given(clusters())
def test_memory_is_never_exceeded_and_all_given_back(case: tuple[Cluster, Requests]) -> None:
    cluster, work = case
    machines = serve(cluster, work).machines
    assert (machines["peak_blocks"] <= machines["kv_blocks"]).all()
    np.testing.assert_array_equal(machines["free_blocks"], machines["kv_blocks"])
    units = machines["idle_units"] * machines["unit_tokens"] // machines["block_tokens"]
    assert (units <= machines["kv_blocks"]).all()


@given(clusters())
def test_loads_that_dispatch_sees_return_to_zero(case: tuple[Cluster, Requests]) -> None:
    machines = serve(*case).machines
    for name in ("assigned", "pending_prompt_tokens", "pending_output_tokens", "assigned_kv_tokens", "reserved_tokens"):
        assert not machines[name].any(), name
    for name in ("running", "waiting", "inbound", "held", "preempted"):
        assert not machines[name].any(), name


@given(clusters())
def test_equal_inputs_give_equal_bits(case: tuple[Cluster, Requests]) -> None:
    def bits(served: Served) -> tuple[bytes, ...]:
        return served.sequences.tobytes(), served.machines.tobytes(), served.gaps.tobytes(), served.samples.tobytes()

    assert bits(serve(*case)) == bits(serve(*case))


@pytest.mark.parametrize("samples", [0, 4, 64])
def test_time_series_do_not_change_what_happens(samples: int) -> None:
    from tests.support.small_clusters import table
    from workloads.serving.simulation import Machine

    work = Requests(np.arange(20) * 0.3, np.full(20, 30), np.full(20, 20))
    cluster = Cluster((Machine("both", "vllm-v1", 400, max_sequences=40),), (table(1.0),))
    served = serve(cluster, work, samples=samples)
    assert len(served.sample_times) <= samples
    np.testing.assert_array_equal(served.sequences, serve(cluster, work).sequences)
    assert (np.diff(served.sample_times) > 0).all()
    assert (served.samples["used_blocks"] <= served.machines["kv_blocks"]).all()

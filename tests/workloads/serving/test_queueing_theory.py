"""One machine as a queue whose answers are known: M/D/1, M/G/1, Little's law, work conservation."""

from __future__ import annotations

import numpy as np
import pytest

from uarch.arrays import FloatArray
from workloads.requests.records import Requests
from workloads.serving.simulation import Cluster, Machine, Served, serve
from workloads.serving.step_times.step_grid import StepTable

pytestmark = pytest.mark.compiled("hundreds of thousands of requests")

COUNT = 200_000
SECONDS_PER_TOKEN = 0.001


def by_tokens(max_tokens: int) -> StepTable:
    """A millisecond a new token, whatever else."""
    dense = SECONDS_PER_TOKEN * np.arange(max_tokens + 1)
    tables = np.stack([dense, dense], axis=1)
    ends, none = np.array([1.0, 2.0]), np.zeros(2)
    return StepTable(tables, np.zeros((3, 2, 2)), ends, np.zeros((2, 2, 2)), ends, ends, none)


def one_server(arrivals: FloatArray, prompts: np.ndarray) -> Served:
    """Requests of one output token on a machine that serves one at a time: service is the prompt's milliseconds."""
    work = Requests(arrivals, prompts, np.ones(len(prompts), np.int64))
    most = int(prompts.max())
    machine = Machine("both", "orca", kv_tokens=16 * (most // 16 + 2), max_sequences=1, max_batched_tokens=most)
    return serve(Cluster((machine,), (by_tokens(most + 2),)), work)


def poisson(rate: float, random: np.random.Generator) -> FloatArray:
    return np.asarray(np.cumsum(random.exponential(1 / rate, COUNT)))


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_mean_wait_of_an_m_d_1_queue(load: float) -> None:
    """Pollaczek-Khinchine: rho S / (2 (1 - rho)); waits are correlated over some 1 / (1 - rho)^2 services, hence 5 %."""
    service = 100 * SECONDS_PER_TOKEN
    served = one_server(poisson(load / service, np.random.default_rng(1)), np.full(COUNT, 100))
    waits = served.sequences["admitted_seconds"] - served.sequences["arrival_seconds"]
    assert waits.mean() == pytest.approx(load * service / (2 * (1 - load)), rel=0.05)
    assert (waits < 1e-12).mean() == pytest.approx(1 - load, abs=0.01)


def test_mean_wait_of_an_m_g_1_queue() -> None:
    """lambda E[S^2] / (2 (1 - rho)) with services of 20, 100 and 500 ms."""
    random = np.random.default_rng(2)
    prompts = random.choice([20, 100, 500], COUNT, p=[0.5, 0.4, 0.1])
    services = prompts * SECONDS_PER_TOKEN
    rate = 0.7 / (0.5 * 0.02 + 0.4 * 0.1 + 0.1 * 0.5)
    served = one_server(poisson(rate, random), prompts)
    waits = served.sequences["admitted_seconds"] - served.sequences["arrival_seconds"]
    rho = rate * services.mean()
    assert waits.mean() == pytest.approx(rate * (services**2).mean() / (2 * (1 - rho)), rel=0.07)


def test_a_machine_with_work_never_rests() -> None:
    """Lindley's recursion gives every departure of a queue that does; busy time is the sum of services."""
    random = np.random.default_rng(3)
    prompts = random.integers(1, 300, 20_000)
    arrivals = np.asarray(np.cumsum(random.exponential(0.16, len(prompts))))
    served = one_server(arrivals, prompts)
    free, departures = 0.0, []
    for arrival, prompt in zip(arrivals.tolist(), prompts.tolist(), strict=True):
        free = max(free, arrival) + SECONDS_PER_TOKEN * prompt
        departures.append(free)
    np.testing.assert_allclose(served.sequences["last_token_seconds"], departures, rtol=1e-9)
    assert served.machines["busy_seconds"][0] == pytest.approx(prompts.sum() * SECONDS_PER_TOKEN)


def test_littles_law_on_a_cluster() -> None:
    """The mean number of requests in the system, from the time series, is the rate of arrivals times the mean time there."""
    random = np.random.default_rng(4)
    work = Requests(poisson(30.0, random)[:50_000], random.integers(1, 200, 50_000), random.integers(1, 60, 50_000))
    dense = 0.004 + 2e-5 * np.arange(3001)
    table = by_tokens(3000)._replace(dense=np.stack([dense, dense], axis=1), decode=np.zeros((65, 2, 2)))
    cluster = Cluster((Machine("both", "vllm-v1", 20_000, max_sequences=64),) * 3, (table,))
    served = serve(cluster, work)
    spent = served.sequences["last_token_seconds"] - work.arrival_seconds
    inside = served.samples["running"].sum(axis=1) + served.samples["waiting"].sum(axis=1)
    loaded = served.sample_times < work.arrival_seconds[-1]
    assert inside[loaded].mean() == pytest.approx(work.mean_rate_per_second * spent.mean(), rel=0.05)

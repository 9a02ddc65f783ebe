from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.small_sweep import static_sweep
from workloads.sweep.execution import Progress, run_sweep

pytest.importorskip("optuna")
pytestmark = pytest.mark.once("files and formulas: nothing is jitted")
SPACE = {
    "core.count": {"low": 8, "high": 140},
    "l2.bytes": {"low": 4e6, "high": 6e7},
    "memory.technology": {"values": ["hbm3"]},
}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_search_that_is_interrupted_proposes_the_same_points(tmp_path: Path, sampler: str) -> None:
    sampling = {"method": "optimise", "points": 12, "batch": 4, "seed": 3, "sampler": sampler}
    sweep = static_sweep(parameter=SPACE, sampling=sampling)

    def stop(progress: Progress) -> None:
        if progress.done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, tmp_path / "a.h5", workers=1, progress=stop)
    table = run_sweep(sweep, tmp_path / "a.h5", workers=1)
    run_sweep(sweep, tmp_path / "b.h5", workers=1)
    assert len(table.rows) == 12
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_search_is_nearer_to_the_optimum_than_its_first_random_batch(tmp_path: Path) -> None:
    # The area grows with the number of cores: the least is that of 8.
    sampling = {"method": "optimise", "points": 40, "batch": 8, "seed": 1}
    sweep = static_sweep(
        parameter={"core.count": {"low": 8, "high": 140}}, objective=[{"minimise": "die_area_mm2"}], sampling=sampling
    )
    table = run_sweep(sweep, tmp_path / "a.h5", workers=1)
    areas, cores = table.column("die_area_mm2"), table.column("core.count")
    assert np.median(areas[8:]) < np.median(areas[:8])
    assert cores.min() <= 12

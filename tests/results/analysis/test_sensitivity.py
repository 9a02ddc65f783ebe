from __future__ import annotations

import numpy as np
import pytest

from results.analysis.sensitivity import sensitivity

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


def test_a_full_grid_of_a_sum_is_divided_by_the_variances_of_its_terms() -> None:
    # y = x1 + 3 x2 over x1, x2 in {0, 1, 2}: variances 2/3 and 9 * 2/3, so 1/10 and 9/10. With 100 repeats n = 900, and chance
    # explains (groups - 1) * within / (n - groups), 2 * 0.9 / 897 = 0.2 % of the total for x1.
    x1, x2 = (each.ravel() for each in np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]))
    x1, x2 = np.tile(x1, 100), np.tile(x2, 100)
    y = x1 + 3 * x2
    assert sensitivity(x1, y).first_order == pytest.approx(0.1 - 2 * 0.9 / 897)
    assert sensitivity(x2, y).first_order == pytest.approx(0.9 - 2 * 0.1 / 897)
    assert sensitivity(x2, y)[1:] == (1.0, 0.0, 7.0, 2.0)


def test_a_continuous_sample_of_ishigami_s_function_gives_its_known_indices() -> None:
    # Saltelli et al., Global Sensitivity Analysis (2008), a = 7, b = 0.1: S1 = 0.3139, S2 = 0.4424, S3 = 0.
    x = np.random.default_rng(3).uniform(-np.pi, np.pi, (20_000, 3))
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    found = [sensitivity(x[:, i], y).first_order for i in range(3)]
    assert found == pytest.approx([0.3139, 0.4424, 0.0], abs=0.02)


def test_noise_explains_nothing_on_average() -> None:
    generator = np.random.default_rng(5)
    found = [sensitivity(generator.random(64), generator.random(64)).first_order for _ in range(200)]
    assert np.mean(found) < 0.05


def test_texts_are_groups_and_an_equal_result_is_not_sensitive() -> None:
    names = np.array(["a", "b", "a", "b"])
    assert sensitivity(names, np.array([1.0, 2.0, 1.0, 2.0])) == (1.0, 1.0, "a", 2.0, "b")
    assert sensitivity(names, np.ones(4)).first_order == 0.0

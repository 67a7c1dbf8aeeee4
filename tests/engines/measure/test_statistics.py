"""trtexec's rules for numbers, against hand-worked values and numpy where the rules agree with it."""

from __future__ import annotations

import numpy as np
import pytest

from trtconv.engines.measure import statistics

# By hand in IEEE singles: 0.9 rounds down, so 1 - 0.9 is a little over a tenth; 0.99 rounds up, so 1 - 0.99 is a little
# under a hundredth and the 99th percentile of 100 values is the largest.
BY_HAND = [(100, 99, 99), (100, 90, 89), (100, 95, 94), (10, 99, 9), (10, 90, 8), (1, 50, 0), (7, 50, 3), (3, 0, 0)]


@pytest.mark.parametrize(("count", "percent", "index"), BY_HAND)
def test_percentile_is_an_element_and_no_mean(count: int, percent: float, index: int) -> None:
    assert statistics.percentile([float(value) for value in range(count)], percent) == index


def test_median_and_variation_agree_with_numpy() -> None:
    for count in (1, 2, 9, 10):
        values = sorted(np.random.default_rng(count).gamma(2, size=count))
        assert statistics.median(values) == pytest.approx(np.median(values))
        assert statistics.variation(values) == pytest.approx(100 * np.std(values) / np.mean(values))


def test_summary_names_its_percentiles() -> None:
    found = statistics.summary([3.0, 1.0, 2.0], (50, 99.9))
    assert found == {"mean": 2.0, "min": 1.0, "max": 3.0, "median": 2.0, "p50": 2.0, "p99.9": 3.0}

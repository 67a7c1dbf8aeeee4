import numpy as np
import pytest

from trtconv.calibration.histogram import BINS, Histogram


def counted(*parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(part, float(np.abs(part).max(initial=0)))
    return histogram


def test_counts_are_numpys():
    values = np.random.default_rng(0).standard_t(3, (7, 30_001)).astype(np.float32)
    histogram = counted(values)
    assert histogram.amax == np.abs(values).max()
    wanted, _ = np.histogram(np.abs(values), BINS, (0, BINS * histogram.width))
    np.testing.assert_array_equal(histogram.counts, wanted)
    assert histogram.total == values.size
    assert BINS / 2 <= len(histogram.used) <= BINS


def test_batches_and_their_order_change_nothing():
    random = np.random.default_rng(1)
    parts = [(random.normal(size=500) * 10.0**power).astype(np.float32) for power in (-6, 3, -1, 0, 5)]
    together, apart, backwards = counted(np.concatenate(parts)), counted(*parts), counted(*reversed(parts))
    for other in (apart, backwards):
        np.testing.assert_array_equal(other.counts, together.counts)
        assert (other.width, other.amax, other.zeros) == (together.width, together.amax, together.zeros)


def test_exact_zeros_are_counted_apart():
    values = np.float32([0, 0, -0.0, 1e-30, 1, -2])
    histogram = counted(np.zeros(5, np.float32), values)
    assert (histogram.zeros, int(histogram.counts.sum()), histogram.total) == (8, 3, 11)
    assert histogram.counts[0] == 1  # 1e-30


@pytest.mark.parametrize("amax", [1.0, np.nextafter(np.float32(2), np.float32(0)), 65504.0, 3e38, 1e-38])
def test_the_largest_value_has_a_bin_at_every_size(amax):
    histogram = counted(np.float32([amax, -amax, amax / 2]))
    assert histogram.counts.sum() == 3
    assert histogram.used.sum() == 3


def test_nothing_but_zeros():
    histogram = counted(np.zeros(9, np.float32))
    assert (histogram.amax, histogram.width, histogram.total) == (0.0, 0.0, 9)
    assert histogram.used.size == 0

"""Differences in batches equal the formulas on whole arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trtconv.data.compare import OutputMeter, classes


def test_batches_give_the_formulas_on_everything():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(100, 7)).astype(np.float32)
    candidate = (reference + rng.normal(scale=0.01, size=reference.shape)).astype(np.float16)
    meter = OutputMeter("y")
    for start in range(0, 100, 30):
        meter.add(reference[start : start + 30], candidate[start : start + 30])
    got = meter.comparison()
    a, b = reference.astype(np.float64), candidate.astype(np.float64)
    assert got.max_abs == np.abs(a - b).max()
    assert got.max_rel == pytest.approx(np.abs(a - b).max() / np.abs(a).max())
    assert got.cosine == pytest.approx((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
    assert got.snr_db == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))
    assert got.finite


def test_equal_zero_and_broken_outputs():
    zeros, ones = np.zeros((2, 2)), np.ones((2, 2))
    equal, lost, broken = OutputMeter("e"), OutputMeter("l"), OutputMeter("b")
    equal.add(ones, ones)
    lost.add(ones, zeros)
    broken.add(ones, np.full((2, 2), np.inf))
    assert math.isinf(equal.comparison().snr_db)
    assert equal.comparison().cosine == 1.0
    assert lost.comparison().cosine == 0.0
    assert lost.comparison().max_rel == 1.0
    assert not broken.comparison().finite


def test_the_same_infinity_in_both_is_no_difference():
    meter = OutputMeter("y")
    meter.add(np.array([np.inf, 1.0, 2.0]), np.array([np.inf, 1.0, 2.0]))
    assert meter.comparison().finite
    assert meter.comparison().max_abs == 0
    assert meter.comparison().trouble == ""


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("reference", "candidate", "trouble"),
    [
        ([NAN, 1, 2], [NAN, 1, 2], "the reference holds NaN in 1 of 3 values"),
        ([NAN, NAN], [0, 0], "the reference holds NaN in 2 of 2 values"),
        ([INF, INF], [INF, INF], "the reference holds infinity only"),
        ([INF, 1, 2], [65504, 1, 2], "it holds something else in 1 of 1 places where the reference is infinite"),
        ([INF, 1, 2], [-INF, 1, 2], "it holds something else in 1 of 1 places"),
        ([], [], "the reference is empty"),
        ([1, 2, 3], [0, 0, 0], "it is 0 everywhere, and the reference is not"),
        ([3, 3, 3], [3, 3.001, 3], "the reference is 3 everywhere: such samples tell little"),
        ([0, 0, 0], [0, 0, 0], "the reference is 0 everywhere: such samples tell little"),
        ([1, 2, 3], [1, 2, 3], ""),
        ([5], [5], ""),
    ],
)
def test_what_is_never_agreement(reference, candidate, trouble):
    meter = OutputMeter("y")
    meter.add(np.array(reference, np.float32), np.array(candidate, np.float32))
    found = meter.comparison().trouble
    assert found.startswith(trouble)
    assert bool(found) == bool(trouble)


def test_one_value_that_both_have_to_the_bit_is_told():
    meter = OutputMeter("y")
    meter.add(np.full(3, 3.0), np.full(3, 3.0))
    assert meter.comparison().trouble == ""
    assert meter.comparison().note == "the reference is 3 everywhere: such samples tell little"


def test_batches_that_are_constant_each_are_not_constant_together():
    meter = OutputMeter("y")
    for value in (1.0, 2.0):
        meter.add(np.full(3, value), np.full(3, value))
    assert meter.comparison().trouble == ""


def test_the_same_number_everywhere_is_a_count_where_it_is_whole():
    meter = OutputMeter("y")
    meter.add(np.full(3, 100), np.full(3, 100))
    assert meter.comparison().trouble == ""


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 10), True), ((3, 1, 1, 10), True), ((3,), False), ((3, 1), False), ((3, 4, 4), False)]
)
def test_classes_only_for_one_row_per_sample(shape, expected):
    output = np.arange(math.prod(shape)).reshape(shape)
    found = classes(output, len(output))
    assert (found is not None) == expected
    if found is not None:
        assert found.tolist() == [shape[-1] - 1] * 3

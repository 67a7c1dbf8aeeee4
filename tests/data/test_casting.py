"""Values from type to type against Python's own numbers, which have no width."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.conftest import Cli
from tests.small_jobs import one_op
from trtconv.core.errors import UsageError
from trtconv.core.records import TensorInfo
from trtconv.data.casting import cast, may_hold
from trtconv.engines.run.input_checks import fitting

INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = [np.dtype(kind) for kind in ("float16", "float32", "float64", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)]


def edges(dtype: np.dtype) -> list[int]:
    """Whole numbers around every power of two, and at the ends of the type."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    around = {sign * (2**power + more) for power in range(65) for more in (-1, 0, 1) for sign in (1, -1)}
    return sorted(number for number in {low, low + 1, high - 1, high, 200, *around} if low <= number <= high)


@pytest.mark.parametrize("want", [*INTEGERS, *FLOATS], ids=str)
@pytest.mark.parametrize("have", INTEGERS, ids=str)
def test_every_whole_number_comes_through_or_is_told(have: np.dtype, want: np.dtype) -> None:
    assert may_hold(have, want)
    for number in edges(have):
        made, exact = cast(np.array([0, number], have), want)
        value = made[1].item() if want in INTEGERS else float(made[1])
        true = np.isfinite(value) and int(value) == number and value == number
        assert exact == true, number


@pytest.mark.parametrize("have", FLOATS, ids=str)
def test_fractions_are_rounded_and_never_become_whole_numbers(have: np.dtype) -> None:
    made, exact = cast(np.array([0.1, 1.5], have), np.dtype(np.float32))
    assert exact
    assert made.dtype == np.float32
    assert not any(may_hold(have, want) for want in INTEGERS)


def test_truth_is_a_number_and_numbers_are_no_truth() -> None:
    made, exact = cast(np.array([True, False]), np.dtype(np.int8))
    assert (made.tolist(), exact) == ([1, 0], True)
    assert not may_hold(np.dtype(np.uint8), np.dtype(bool))


@pytest.mark.parametrize(
    ("kind", "values", "code"),
    [
        ("int8", np.array([[0, 127, 128, 200]], np.uint8), 2),
        ("int8", np.array([[0, 127, 126, 1]], np.uint8), 0),
        ("int32", np.array([[1, 2, 3, 4294967295]], np.uint32), 2),
        ("uint8", np.array([[1, 2, 3, -1]], np.int8), 2),
        ("uint64", np.array([[1, 2, 3, -1]], np.int64), 2),
        ("int64", np.array([[1, 2, 3, 2**63]], np.uint64), 2),
        ("float", np.array([[1, 2, 3, 2**24 + 1]], np.int32), 2),
    ],
)
def test_samples_that_the_input_cannot_hold(trtconv: Cli, tmp_path, kind: str, values: np.ndarray, code: int) -> None:
    one_op(tmp_path / "m.onnx", "Cast", kind)
    np.save(tmp_path / "x.npy", values)
    done = trtconv("infer", "m.onnx", "--data", "x.npy", "-o", "y.npy", "--quiet")
    assert done.returncode == code, done.stderr
    if code:
        assert f"takes {'float32' if kind == 'float' else kind}, which cannot hold all of these" in done.stderr
        assert not (tmp_path / "y.npy").exists()
    else:
        assert (np.load(tmp_path / "y.npy") == values).all()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int32", np.array([2**40])),
        ("int8", np.array([-129], np.int16)),
        ("int64", np.array([2**63], np.uint64)),
        ("float16", np.array([1e6])),
    ],
)
def test_the_librarys_inputs_too(kind: str, values: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"cannot hold all of these|expected"):
        fitting({"x": values}, (TensorInfo("x", kind, ("batch",)),), (), ())

"""Classes of tables, sequences and images, by the axis that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from tests.conftest import Cli
from tests.small_jobs import one_op
from trtconv.core.errors import UsageError
from trtconv.data import postprocess, postprocess_rows

RNG = np.random.default_rng(0)


def made(values: np.ndarray, *rows: dict[str, Any]) -> dict[str, np.ndarray]:
    return postprocess.prepare(rows, ["y"])({"y": values})


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 5), 1), ((2, 7, 5), 2), ((2, 5, 16, 16), 1), ((2, 16, 16, 5), 3), ((2, 150, 128, 128), 1)]
)
def test_the_axis_that_there_can_be_no_doubt_about(shape: tuple[int, ...], axis: int) -> None:
    values = RNG.normal(size=shape).astype(np.float32)
    assert np.array_equal(made(values, {"argmax": {}})["y_class"], values.argmax(axis))
    assert made(values, {"softmax": {}})["y"] == pytest.approx(softmax(values, axis), abs=1e-6)


@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 16, 12), 1), ((2, 12, 16, 5), 3)])
def test_the_likely_axis_is_taken_and_told(shape: tuple[int, ...], axis: int) -> None:
    values = RNG.normal(size=shape).astype(np.float32)
    chain = postprocess.prepare([{"argmax": {}}], ["y"])
    assert np.array_equal(chain({"y": values})["y_class"], values.argmax(axis))
    assert chain.guessed == {"y": f"axis {axis} of {list(shape)}"}


@pytest.mark.parametrize("shape", [(2, 7, 16, 12), (2, 21, 21, 21), (2, 5, 4, 4, 4), (2, 16, 5, 12)])
def test_where_nothing_tells_it_has_to_be_said(shape: tuple[int, ...]) -> None:
    values = RNG.normal(size=shape).astype(np.float32)
    with pytest.raises(UsageError, match="nothing tells which axis") as caught:
        made(values, {"argmax": {}})
    assert "axis: 1" in caught.value.hint
    for axis in (1, -1, 2):
        assert np.array_equal(made(values, {"argmax": {"axis": axis}})["y_class"], values.argmax(axis))


def test_labels_tell_the_axis(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a\nb\nc\nd\ne\n")
    values = RNG.normal(size=(2, 5, 16, 12)).astype(np.float32)
    found = made(values, {"argmax": {"labels": str(tmp_path / "c.txt")}})
    assert np.array_equal(found["y_label"], np.array(list("abcde"))[values.argmax(1)])


@pytest.mark.parametrize("axis", [0, 4, -5, -4])
def test_an_axis_that_there_is_not(axis: int) -> None:
    with pytest.raises(UsageError, match=f"has no axis {axis} of classes"):
        made(np.ones((2, 5, 4, 4), np.float32), {"argmax": {"axis": axis}})
    with pytest.raises(UsageError, match="expected axis as a whole number"):
        postprocess_rows.check([{"argmax": {"axis": "1"}}])


def test_the_largest_few_stay_where_the_classes_were() -> None:
    values = RNG.normal(size=(2, 6, 5, 5)).astype(np.float32)
    found = made(values, {"topk": {"k": 3}})
    order = np.argsort(-values, axis=1, kind="stable")[:, :3]
    assert np.array_equal(found["y_class"], order)
    assert np.array_equal(found["y_score"], np.take_along_axis(values, order, 1))


@pytest.mark.parametrize("k", [2, 20])
def test_nan_has_no_class(k: int, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("\n".join(map(str, range(30))))
    values = RNG.normal(size=(3, 30)).astype(np.float32)
    values[1, 7] = np.nan
    labels = str(tmp_path / "c.txt")
    chain = postprocess.prepare([{"argmax": {"labels": labels}}], ["y"])
    found = chain({"y": values})
    assert found["y_class"].tolist() == [values[0].argmax(), -1, values[2].argmax()]
    assert found["y_label"].tolist() == [str(values[0].argmax()), "", str(values[2].argmax())]
    assert chain.unclear == {"y": 1}
    few = made(values, {"topk": {"k": k, "labels": labels}})
    assert (few["y_class"][1] == -1).all()
    assert np.isnan(few["y_score"][1]).all()
    assert (few["y_class"][[0, 2]] >= 0).all()


def test_rows_on_the_command_line_and_nan_in_a_run(trtconv: Cli, tmp_path: Path) -> None:
    one_op(tmp_path / "m.onnx", "Sqrt", dims=["batch", 5, 16, 12])
    x = np.abs(RNG.normal(size=(2, 5, 16, 12))).astype(np.float32)
    x[1, 2, 3, 4] = -1
    np.save(tmp_path / "x.npy", x)
    run = ("infer", "m.onnx", "--data", "x.npy", "-o", "y.npy", "-q", "--post")
    assert "axis 1 of [2, 5, 16, 12]; axis: says it for sure" in trtconv(*run, "argmax").stderr
    done = trtconv(*run, "argmax:axis=1")
    assert done.returncode == 0, done.stderr
    assert "output 'y' holds NaN in 1 samples" in done.stderr
    wanted = x.argmax(1)
    wanted[1, 3, 4] = -1
    assert np.array_equal(np.load(tmp_path / "y.npy"), wanted)
    assert trtconv(*run, "argmax:axis").returncode == 2

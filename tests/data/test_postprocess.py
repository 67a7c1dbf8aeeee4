"""Rows of postprocessing, against numpy and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from trtconv.core.errors import UsageError
from trtconv.data import postprocess

SCORES = np.array([[0.0, 3.0, 1.0], [5.0, -1.0, 5.0]], np.float32)


def applied(*rows: dict[str, Any], **outputs: np.ndarray) -> dict[str, np.ndarray]:
    outputs = outputs or {"y": SCORES}
    return postprocess.prepare(rows, list(outputs))(outputs)


def test_softmax_is_stable_and_sums_to_one() -> None:
    large = applied({"softmax": {}}, y=SCORES * 1000)["y"]
    assert np.isfinite(large).all()
    small = applied({"softmax": {}})["y"]
    assert small == pytest.approx(np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True))


def test_softmax_of_bfloat16_is_computed_in_float32() -> None:
    found = applied({"softmax": {}}, y=SCORES.astype(ml_dtypes.bfloat16))["y"]
    assert found.dtype == np.float32


def test_argmax_and_topk_prefer_the_lower_class_on_ties() -> None:
    assert applied({"argmax": {}})["y_class"].tolist() == [1, 0]
    found = applied({"topk": {"k": 2}})
    assert found["y_class"].tolist() == [[1, 2], [0, 2]]
    assert found["y_score"].tolist() == [[3, 1], [5, 5]]
    assert set(found) == {"y_class", "y_score"}


def test_k_beyond_the_classes_gives_all() -> None:
    assert applied({"topk": {"k": 9}})["y_class"].shape == (2, 3)


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\n")
    found = applied({"argmax": {"labels": str(tmp_path / "names.txt")}})
    assert found["y_label"].tolist() == ["dog", "cat"]
    (tmp_path / "names.txt").write_bytes("cät\r\ndog\r\ncow\r\n\r\n".encode("utf-8-sig"))  # as on Windows
    assert applied({"topk": {"k": 2, "labels": str(tmp_path / "names.txt")}})["y_label"][1].tolist()[0] == "cät"


@pytest.mark.parametrize("names", ["cat\ndog\n", "background\ncat\ndog\ncow\n"])
@pytest.mark.parametrize("row", ["argmax", "topk"])
def test_labels_must_be_one_per_class(tmp_path: Path, names: str, row: str) -> None:
    (tmp_path / "names.txt").write_text(names)
    options = {"labels": str(tmp_path / "names.txt")} | ({"k": 1} if row == "topk" else {})
    with pytest.raises(UsageError, match=f"the output has 3 classes, and there are {names.count(chr(10))} labels"):
        applied({row: options})


def test_texts_have_no_classes() -> None:
    with pytest.raises(UsageError, match="output 'y' holds texts"):
        applied({"argmax": {}}, y=np.array([["a", "b"]], object))


def test_rows_follow_each_other_and_other_outputs_stay() -> None:
    rest = np.arange(2)
    found = applied({"softmax": {"output": "y"}}, {"argmax": {"output": "y"}}, y=SCORES, rest=rest)
    assert set(found) == {"y_class", "rest"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"softmaxx": {}}, "row 1: unknown operation 'softmaxx'"),
        ({"softmax": {}, "argmax": {}}, "expected one operation, got softmax, argmax"),
        ({"topk": {}}, "expected k as a positive whole number, got nothing"),
        ({"topk": {"k": 0}}, "got 0"),
        ({"topk": {"k": True}}, "got True"),
        ({"topk": {"k": 2, "label": "x"}}, "topk has no option 'label'"),
        ({"argmax": {"output": "z"}}, "no output 'z'"),
        ({"argmax": 3}, "expected options of argmax as a mapping, got 3"),
        ({"argmax": {"labels": "nowhere.txt"}}, "nowhere.txt: labels cannot be read"),
        ({"argmax": {"output": 1}}, "expected output as text, got 1"),
    ],
)
def test_mistakes_are_found_before_anything_runs(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        postprocess.prepare([row], ["y"])


def test_which_output_must_be_said() -> None:
    with pytest.raises(UsageError, match="which output is meant"):
        postprocess.prepare([{"argmax": {}}], ["y", "z"])


def test_an_output_without_classes() -> None:
    with pytest.raises(UsageError, match=r"shape \[2\] has no axis of classes"):
        applied({"argmax": {}}, y=np.zeros(2))


def test_threshold_tells_which_values_are_greater() -> None:
    chain = postprocess.prepare(({"threshold": {"above": 0.5}},), ["y"])
    assert chain({"y": np.array([[0.4, 0.5, 0.6]])})["y_above"].tolist() == [[False, False, True]]
    for given in ({}, {"above": "high"}, {"above": True}):
        with pytest.raises(UsageError, match="expected above as a number"):
            postprocess.prepare(({"threshold": given},), ["y"])


def halved(outputs: Any) -> Any:
    return {f"{name}_half": value / 2 for name, value in outputs.items()}


def shortened(outputs: Any) -> Any:
    return {name: value[:-1] for name, value in outputs.items()}


def broken(outputs: Any) -> Any:
    raise KeyError("scores")


def test_a_function_of_the_users_runs_by_leave_only() -> None:
    row = {"call": {"function": "tests.data.test_postprocess:halved"}}
    with pytest.raises(UsageError, match="is code, which runs only by your leave") as raised:
        postprocess.prepare((row,), ["y"])
    assert "--allow-code" in raised.value.hint
    chain = postprocess.prepare((row, {"argmax": {"output": "y_half"}}), ["y", "y_half"], allow_code=True)
    assert chain({"y": np.array([[1.0, 4.0]])})["y_half_class"].tolist() == [1]


@pytest.mark.parametrize(
    ("function", "says"),
    [("shortened", r"must return arrays with one entry per sample \(2\)"), ("broken", "broken raised KeyError")],
)
def test_a_function_that_does_not_keep_to_it(function: str, says: str) -> None:
    chain = postprocess.prepare(
        ({"call": {"function": f"tests.data.test_postprocess:{function}"}},), ["y"], allow_code=True
    )
    with pytest.raises(UsageError, match=says):
        chain({"y": np.zeros((2, 3))})


def test_a_function_that_is_not_there() -> None:
    for target in ("no_such_module:f", "tests.data.test_postprocess:no_such"):
        with pytest.raises(UsageError, match="cannot be imported"):
            postprocess.prepare(({"call": {"function": target}},), ["y"], allow_code=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("k", [1, 3, 16, 17, 40])
def test_topk_is_the_beginning_of_a_stable_sort(dtype: type, k: int) -> None:
    rng = np.random.default_rng(k)
    many_equal = rng.integers(-4, 4, (2, 5, 40)).astype(dtype)
    different = (1000 * rng.normal(size=(2, 5, 40))).astype(dtype)
    odd = different.copy()
    if np.issubdtype(dtype, np.floating):
        odd[0, 0, 3], odd[0, 1, 4:30], odd[1, 2, 5] = np.nan, -np.inf, np.inf
    for values in (many_equal, different, odd):
        found = applied({"topk": {"k": k}}, y=values)
        order = np.argsort(-values.astype(np.float64), axis=-1, kind="stable")[..., :k]
        scores = np.take_along_axis(values, order, -1)
        if np.isnan(values).any():  # of which nobody can tell the largest
            order[0, 0], scores[0, 0] = -1, np.nan
        assert np.array_equal(found["y_class"], order)
        assert np.array_equal(found["y_score"], scores, equal_nan=dtype != np.int64)

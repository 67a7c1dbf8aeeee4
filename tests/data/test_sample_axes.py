"""Samples along another axis than the first; the references are slices of the arrays that the files hold."""

from pathlib import Path

import numpy as np
import pytest

from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.feeds import open_feed

X = np.arange(4 * 3, dtype=np.float32).reshape(4, 3)
STATE = np.arange(2 * 4 * 5, dtype=np.float32).reshape(2, 4, 5)
DYNAMIC = (TensorInfo("x", "float", ("batch", 3)), TensorInfo("state", "float", (2, "batch", 5)))
FIXED = (TensorInfo("x", "float", (1, 3)), TensorInfo("state", "float", (2, 1, 5)))
UNNAMED = (TensorInfo("x", "float", ("n", 3)), TensorInfo("state", "float", (2, "m", 5)))


def feed(folder: Path, inputs, x=X, state=STATE, axes=()):
    np.savez(folder / "x.npz", x=x, state=state)
    return open_feed(FeedSpec(folder / "x.npz", batch_axes=dict(axes)), inputs)


def check(found, size=3):
    """Batches as the model takes them, in order and complete."""
    batches = list(found.batches(size))
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), X)
    np.testing.assert_array_equal(np.concatenate([batch["state"] for batch in batches], axis=1), STATE)
    assert len(found) == 4
    return batches


def test_the_axis_that_is_called_as_that_of_other_inputs(tmp_path):
    batches = check(feed(tmp_path, DYNAMIC))
    assert [batch["state"].shape for batch in batches] == [(2, 3, 5), (2, 1, 5)]


@pytest.mark.parametrize("inputs", [UNNAMED, FIXED])
def test_an_axis_that_the_user_names(tmp_path, inputs):
    check(feed(tmp_path, inputs, axes={"state": 1}))


def test_without_a_name_the_hint_says_how(tmp_path):
    with pytest.raises(UsageError, match="different numbers of samples") as caught:
        feed(tmp_path, UNNAMED)
    assert "--batch-axis NAME=1" in caught.value.hint


def test_stacks_of_whole_inputs(tmp_path):
    """Of a model for one sample: every row is what the model takes, its batch of 1 included."""
    found = feed(tmp_path, FIXED, X[:, None], np.moveaxis(STATE, 1, 0)[:, :, None])
    assert [batch["state"].shape for batch in check(found)] == [(2, 1, 5)] * 4
    assert found.shapes(np.array([0])) == {"x": (1, 3), "state": (2, 1, 5)}


def test_arrays_that_are_exactly_what_the_model_takes_are_one_sample(tmp_path):
    found = feed(tmp_path, FIXED, X[:1], STATE[:, :1])
    (batch,) = found.batches(8)
    np.testing.assert_array_equal(batch["x"], X[:1])
    np.testing.assert_array_equal(batch["state"], STATE[:, :1])
    assert len(found) == 1


def test_a_stack_beside_samples_is_refused(tmp_path):
    with pytest.raises(UsageError, match="every sample of 'x' is a whole input"):
        feed(tmp_path, FIXED, X[:2, None], STATE[:, :2], axes={"state": 1})


@pytest.mark.parametrize(("axes", "says"), [({"stat": 1}, "no input 'stat'"), ({"state": 3}, "has no axis 3")])
def test_an_axis_that_is_not_there(tmp_path, axes, says):
    with pytest.raises(UsageError, match=says):
        feed(tmp_path, DYNAMIC, axes=axes)


def test_one_file_per_sample(tmp_path):
    for number in range(4):
        np.savez(tmp_path / f"{number}.npz", x=X[number], state=STATE[:, number])
    check(open_feed(FeedSpec(tmp_path), DYNAMIC))


def test_the_axis_is_part_of_the_digest(tmp_path):
    square = np.zeros((4, 4, 5), np.float32)
    inputs = (DYNAMIC[0], TensorInfo("state", "float", ("a", "b", 5)))
    first, second = (feed(tmp_path, inputs, state=square, axes=axes).digest() for axes in ({}, {"state": 1}))
    assert first != second

"""Inputs that hold no samples: the same values with every batch, from the data or by default."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.feeds import open_feed

X = np.arange(21, dtype=np.float32).reshape(7, 3)
INPUTS = (TensorInfo("s", "int64", (2,)), TensorInfo("x", "float", ("batch", 3)))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "s.npy", np.array([4, 3], np.int32))
    np.array([4, 3], np.int64).tofile(tmp_path / "s.bin")
    np.savez(tmp_path / "both.npz", x=X, s=np.array([4, 3]))
    return {name: tmp_path / name for name in ("x.npy", "s.npy", "s.bin", "both.npz")}


@pytest.mark.parametrize("known", [{}, {"s": (9, 9)}])
@pytest.mark.parametrize("kind", ["s.npy", "s.bin", "both.npz"])
def test_what_is_given_once_comes_with_every_batch(files: dict[str, Path], kind: str, known: dict[str, object]) -> None:
    names = {} if kind == "both.npz" else {"x": files["x.npy"], "s": files[kind]}
    feed = open_feed(FeedSpec(files["both.npz"], names=names, values=known), INPUTS)  # type: ignore[arg-type]
    batches = list(feed.batches(3))
    assert len(feed) == 7
    assert [len(batch["x"]) for batch in batches] == [3, 3, 1]
    assert np.array_equal(np.concatenate([batch["x"] for batch in batches]), X)
    for batch in batches:
        assert batch["s"].dtype == np.int64
        assert batch["s"].tolist() == [4, 3]
    assert feed.shapes(np.arange(2)) == {"x": (2, 3), "s": (2,)}
    assert feed.assumed == ()


def test_a_default_stands_in_and_one_file_is_then_enough(files: dict[str, Path]) -> None:
    feed = open_feed(FeedSpec(files["x.npy"], values={"s": (8, 3)}), INPUTS)
    assert [batch["s"].tolist() for batch in feed.batches(4)] == [[8, 3], [8, 3]]
    assert feed.assumed == ("s",)


def test_without_a_default_they_are_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=X)
    with pytest.raises(UsageError, match=re.escape("no values for input 's' of shape [2], which holds no samples")):
        open_feed(FeedSpec(tmp_path / "x.npz"), INPUTS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.array([4, 3, 1]), "input 's' takes 2 values with every batch, and there is an array of shape [3]"),
        (np.array([[4, 3]] * 7), "input 's' takes 2 values with every batch, and there is an array of shape [7, 2]"),
        (np.array([4.0, 3.0]), "float64 values for input 's', which takes int64"),
        (np.array([2**63, 3], np.uint64), "uint64 values for input 's', which takes int64"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(files: dict[str, Path], given: np.ndarray, said: str) -> None:
    np.save(files["s.npy"], given)
    spec = FeedSpec(names={"x": files["x.npy"], "s": files["s.npy"]}, values={"s": (8, 3)})
    with pytest.raises(UsageError, match=r"s\.npy: " + re.escape(said)):
        open_feed(spec, INPUTS)


def test_a_picture_holds_no_such_values(files: dict[str, Path], tmp_path: Path) -> None:
    spec = FeedSpec(names={"x": files["x.npy"], "s": tmp_path / "s.png"}, values={"s": (8, 3)})
    (tmp_path / "s.png").touch()
    with pytest.raises(UsageError, match="cannot read the values of input 's'"):
        open_feed(spec, INPUTS)


def test_files_of_a_folder_must_agree(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, s=np.array([4, 3]))
    np.savez(tmp_path / "b.npz", x=X, s=np.array([4, 3]))
    assert len(open_feed(FeedSpec(tmp_path), INPUTS)) == 14
    np.savez(tmp_path / "b.npz", x=X, s=np.array([5, 3]))
    with pytest.raises(UsageError, match=r"b\.npz: array 's' differs from .*a\.npz: array 's'"):
        open_feed(FeedSpec(tmp_path), INPUTS)


def test_a_small_input_with_one_value_per_sample_is_still_fed_so(tmp_path: Path) -> None:
    """Only the shapes make it look as if it held no samples; batches of one sample fit it."""
    np.savez(tmp_path / "x.npz", x=X, k=np.arange(7))
    feed = open_feed(FeedSpec(tmp_path / "x.npz"), (INPUTS[1], TensorInfo("k", "int64", (1,))))
    assert [batch["k"].tolist() for batch in feed.batches(1)] == [[number] for number in range(7)]


def test_a_single_number(files: dict[str, Path]) -> None:
    np.savez(files["both.npz"], x=X, s=np.int64(5))
    (batch,) = open_feed(FeedSpec(files["both.npz"]), (TensorInfo("s", "int32", ()), INPUTS[1])).batches(7)
    assert (batch["s"].shape, batch["s"].dtype, int(batch["s"])) == ((), np.int32, 5)


def test_there_must_be_samples_of_something(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="input 's' holds no samples, and there is no other input"):
        open_feed(FeedSpec(files["s.npy"], values={"s": (8, 3)}), INPUTS[:1])


def test_a_function_may_leave_them_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given_once.py").write_text(
        "import numpy as np\nX = np.ones((7, 3), np.float32)\n"
        "def both():\n    return {'x': X, 's': np.array([4, 3])}\ndef one():\n    return X\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, expected in (("both", [4, 3]), ("one", [8, 3])):
        spec = FeedSpec(call=f"given_once:{name}", allow_code=True, values={"s": (8, 3)})
        assert [batch["s"].tolist() for batch in open_feed(spec, INPUTS).batches(7)] == [expected]
    sys.modules.pop("given_once")


def test_other_values_are_other_data(files: dict[str, Path]) -> None:
    digests = {open_feed(FeedSpec(files["x.npy"], values={"s": s}), INPUTS).digest() for s in ((8, 3), (9, 3), (8, 3))}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("float", np.float32(0.5), np.float32(0.5)),
        ("float", np.array(2), np.float32(2)),
        ("float16", np.float64(0.25), np.float16(0.25)),
        ("bool", np.bool_(True), np.bool_(True)),
    ],
)
def test_a_single_number_of_any_kind(tmp_path: Path, kind: str, given: np.ndarray, expected: np.generic) -> None:
    np.savez(tmp_path / "both.npz", x=X, t=given)
    (batch,) = open_feed(FeedSpec(tmp_path / "both.npz"), (TensorInfo("t", kind, ()), INPUTS[1])).batches(7)
    assert batch["t"].shape == ()
    assert batch["t"].dtype == expected.dtype
    assert batch["t"] == expected


@pytest.mark.parametrize(
    ("kind", "given"),
    [("float", np.float64(1e300)), ("float", np.float32("nan")), ("bool", np.int64(1)), ("int32", np.int64(2**40))],
)
def test_a_single_number_that_does_not_fit(tmp_path: Path, kind: str, given: np.ndarray) -> None:
    np.savez(tmp_path / "both.npz", x=X, t=given)
    with pytest.raises(UsageError, match="values for input 't'"):
        open_feed(FeedSpec(tmp_path / "both.npz"), (TensorInfo("t", kind, ()), INPUTS[1]))

"""Results files, read back by numpy and by Python's own readers."""

from __future__ import annotations

import csv
import errno
import json
import os
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from trtconv.core.errors import UsageError
from trtconv.data import writers
from trtconv.data.writers import Samples, open_writer

A = np.arange(10, dtype=np.float32).reshape(5, 2)
B = np.array(["a", "b", "c", "d", "e"])


def written(path: Path, *batches: dict[str, np.ndarray]) -> Path:
    done = 0
    with open_writer(path) as writer:
        for batch in batches:
            count = len(next(iter(batch.values())))
            writer.add(batch, Samples(range(done, done + count)))
            done += count
    return path


def both(path: Path) -> Path:
    return written(path, {"a": A[:3], "b": B[:3]}, {"a": A[3:], "b": B[3:]})


def test_npz(tmp_path: Path) -> None:
    found = np.load(both(tmp_path / "r.npz"))
    assert np.array_equal(found["a"], A)
    assert found["b"].tolist() == B.tolist()


def test_texts_may_grow_longer(tmp_path: Path) -> None:
    texts = ["a", "bb", "c", "a long one", "e"]
    batches = [{"t": np.array([text]), "n": np.array([n])} for n, text in enumerate(texts)]
    found = np.load(written(tmp_path / "r.npz", *batches))
    assert found["t"].tolist() == texts
    assert found["n"].tolist() == [0, 1, 2, 3, 4]


def test_one_array_holds_one_shape(tmp_path: Path) -> None:
    batches = [{"a": A}, {"a": A[:, :1]}]
    for name in ("r.npz", "r.npy"):
        with pytest.raises(UsageError, match=r"samples of shape \[2\] and of \[1\]"):
            written(tmp_path / name, *batches)
    lines = written(tmp_path / "r.jsonl", *batches).read_text().splitlines()
    assert [len(json.loads(line)["a"]) for line in lines] == [2] * 5 + [1] * 5


def test_samples_keep_their_numbers_and_files(tmp_path: Path) -> None:
    with open_writer(tmp_path / "r.jsonl") as writer:
        writer.add({"a": A[:2]}, Samples([3, 7], ["x.jpg", "y.jpg"]))
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(line["sample"], line["file"]) for line in lines] == [(3, "x.jpg"), (7, "y.jpg")]


def test_npz_takes_any_name(tmp_path: Path) -> None:
    found = np.load(written(tmp_path / "r.npz", {"file": A, "dense/BiasAdd:0": A}))
    assert sorted(found) == ["dense/BiasAdd:0", "file"]


def test_npy_holds_one(tmp_path: Path) -> None:
    assert np.array_equal(np.load(written(tmp_path / "r.npy", {"a": A[:2]}, {"a": A[2:]})), A)
    with pytest.raises(UsageError, match="npy holds one array, and there are a, b"):
        both(tmp_path / "two.npy")
    assert not (tmp_path / "two.npy").exists()


def test_json_and_json_lines_hold_the_same(tmp_path: Path) -> None:
    whole = json.loads(both(tmp_path / "r.json").read_text())
    lines = [json.loads(line) for line in both(tmp_path / "r.jsonl").read_text().splitlines()]
    assert whole == lines == [{"sample": n, "a": A[n].tolist(), "b": B[n]} for n in range(5)]


def test_nothing_is_valid_json_too(tmp_path: Path) -> None:
    assert json.loads(written(tmp_path / "r.json").read_text()) == []


def test_what_json_lacks_is_null(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", {"a": np.array([[1.0, np.nan], [np.inf, 2.0]])})
    assert [json.loads(line)["a"] for line in path.read_text().splitlines()] == [[1.0, None], [None, 2.0]]


def test_csv(tmp_path: Path) -> None:
    with both(tmp_path / "r.csv").open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["sample", "a[0]", "a[1]", "b"]
    assert rows[4] == ["3", "6.0", "7.0", "d"]


def test_small_floats_become_float32(tmp_path: Path) -> None:
    found = np.load(written(tmp_path / "r.npz", {"a": A.astype(ml_dtypes.bfloat16)}))["a"]
    assert found.dtype == np.float32
    assert np.array_equal(found, A)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_slow_disk_keeps_nobody_waiting_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    free, begun = threading.Event(), threading.Event()
    monkeypatch.setattr(writers, "_FLUSH", 100)

    def slow(handle: int) -> None:
        begun.set()
        assert free.wait(10)

    monkeypatch.setattr(os, "fdatasync", slow)
    with open_writer(tmp_path / f"r.{suffix}") as writer:
        for number in range(20):
            writer.add({"a": np.full((5, 7), number, np.float32)}, Samples(range(5 * number, 5 * number + 5)))
        assert begun.wait(10)
        assert not free.is_set()
        free.set()
    found = np.load(tmp_path / f"r.{suffix}")
    assert np.array_equal(found if suffix == "npy" else found["a"], np.repeat(np.arange(20.0), 35).reshape(100, 7))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_what_the_disk_does_not_take_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writers, "_FLUSH", 100)
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(Exception, match="No space left"), open_writer(tmp_path / f"r.{suffix}") as writer:
        writer.add({"a": np.ones((100, 7), np.float32)}, Samples(range(100)))
    assert not list(tmp_path.iterdir())


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_writer(tmp_path / "r.csv") as writer:
            writer.add({"a": A}, Samples(range(5)))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        interrupted()
    assert list(tmp_path.iterdir()) == []

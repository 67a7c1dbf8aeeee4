"""The first batches of each thread, read in pieces: the same samples, the same refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data import shared_reading
from trtconv.data.feeds import BadSample, Feed, open_feed
from trtconv.data.shared_reading import SharedReading

SAMPLE = (3, 5, 7)
INPUT = TensorInfo("x", "float", ("batch", *SAMPLE))


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_reading, "_PIECE", 1000)  # two samples


def feed_of(path: Path, values: np.ndarray) -> Feed:
    np.save(path / "x.npy", values)
    return open_feed(FeedSpec(path / "x.npy"), (INPUT,))


def samples(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *SAMPLE)).astype(np.float32)


@pytest.mark.parametrize("room", [0, 3])
def test_every_batch_holds_its_samples(tmp_path: Path, room: int) -> None:
    values = samples(45)
    feed, groups = feed_of(tmp_path, values), [np.arange(start, start + 9) for start in range(0, 45, 9)]

    def read(rows: np.ndarray) -> np.ndarray:
        into = np.full((len(rows) + room, *SAMPLE), np.nan, np.float32)
        reading.read(rows, {"x": into})
        assert np.isnan(into[len(rows) :]).all()
        return into[: len(rows)]

    with SharedReading(feed, 3) as reading, ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(np.concatenate(list(pool.map(read, groups))), values)


@pytest.mark.parametrize("bad", [0, 4, 8])
@pytest.mark.parametrize("turn", [0, 1])
def test_a_bad_sample_has_its_number(tmp_path: Path, bad: int, turn: int) -> None:
    values = samples(18)
    values[9 * turn + bad, 0, 0, 0] = np.nan
    into = {"x": np.empty((9, *SAMPLE), np.float32)}
    with SharedReading(feed_of(tmp_path, values), 1) as reading:
        for number in range(turn):
            reading.read(np.arange(9) + 9 * number, into)
        with pytest.raises(BadSample) as caught:
            reading.read(np.arange(9) + 9 * turn, into)
    assert caught.value.row == 9 * turn + bad


def test_a_mask_is_one_of_the_whole_batch(tmp_path: Path) -> None:
    mask = np.zeros((9, *SAMPLE), np.float32)
    mask[4:7] = -np.inf  # a piece that holds nothing else
    into = {"x": np.empty_like(mask)}
    with SharedReading(feed_of(tmp_path, mask), 2) as reading:
        reading.read(np.arange(9), into)
    np.testing.assert_array_equal(into["x"], mask)


def test_what_no_piece_can_be_read_for_is_raised(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, samples(9))
    (tmp_path / "x.npy").unlink()
    with SharedReading(feed, 2) as reading, pytest.raises(FileNotFoundError):
        reading.read(np.arange(9), {"x": np.empty((9, *SAMPLE), np.float32)})


def test_samples_along_another_axis_and_inputs_without_samples(tmp_path: Path) -> None:
    states = samples(9)
    np.savez(tmp_path / "s.npz", x=states, h=np.moveaxis(states, 0, 1), n=np.array([7], np.int64))
    inputs = (INPUT, TensorInfo("h", "float", (3, "batch", 5, 7)), TensorInfo("n", "int64", (1,)))
    feed = open_feed(FeedSpec(tmp_path / "s.npz", batch_axes={"h": 1}, values={"n": (7,)}), inputs)
    into = {
        "x": np.empty((9, *SAMPLE), np.float32),
        "h": np.empty((3, 9, 5, 7), np.float32),
        "n": np.empty(1, np.int64),
    }
    with SharedReading(feed, 2) as reading:
        reading.read(np.arange(9), into)
    np.testing.assert_array_equal(into["x"], states)
    np.testing.assert_array_equal(into["h"], np.moveaxis(states, 0, 1))
    assert into["n"].tolist() == [7]


def test_an_error_of_the_user_ends_it(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, samples(9))
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(500)
    with SharedReading(feed, 2) as reading, pytest.raises(UsageError, match="truncated"):
        reading.read(np.arange(9), {"x": np.empty((9, *SAMPLE), np.float32)})

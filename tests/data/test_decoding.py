"""Processes that decode images: the same samples as this process makes, and what happens when something is wrong."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trtconv.core.errors import TrtconvError, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data import decoding
from trtconv.data.feeds import BadSample, Feed, open_feed

ROWS = (
    {"resize": {"size": [20, 20], "fit": "shorter"}},
    {"crop": {"size": [16, 18]}},
    {"normalize": {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}},
    {"layout": {"to": "nchw"}},
)
PREPARED = TensorInfo("x", "float", ("batch", 3, 16, 18))
RAW = TensorInfo("x", "uint8", ("batch", 30, 40, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "images"
    where.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(where / f"{number:02}.{'jpg' if number % 2 else 'png'}")
    return where


@pytest.fixture
def two(folder: Path) -> Iterator[decoding.Decoders]:
    with contextlib.closing(decoding.Decoders(ROWS, 2, folder / "00.png")) as found:
        yield found


def read(feed: Feed, rows: list[int], decoders: decoding.Decoders | None) -> np.ndarray:
    numbers = np.array(rows)
    into = {name: np.empty(shape, np.float32) for name, shape in feed.shapes(numbers).items()}
    feed.read(numbers, into, decoders)
    return into["x"]


def test_the_same_samples_whatever_the_batch(folder: Path, two: decoding.Decoders) -> None:
    feed = open_feed(FeedSpec(folder, preprocess=ROWS), (PREPARED,))
    assert feed.pictures
    for rows in ([0, 1, 2], [5], list(range(12)), [3, 4]):  # twelve are two pieces
        assert np.array_equal(read(feed, rows, two), read(feed, rows, None))


def test_without_preprocessing_images_come_as_they_are(folder: Path) -> None:
    feed = open_feed(FeedSpec(folder), (RAW,))
    out = np.empty((4, 30, 40, 3), np.uint8)
    with contextlib.closing(decoding.Decoders((), 1, folder / "00.png")) as one:
        feed.read(np.arange(4), {"x": out}, one)
    assert np.array_equal(out[2], np.asarray(Image.open(folder / "02.png")))


def test_only_images_go_to_other_processes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 3, 16, 18), np.float32))
    assert not open_feed(FeedSpec(tmp_path / "x.npy"), (PREPARED,)).pictures


@pytest.mark.parametrize("bad", [5, 11])
def test_a_damaged_image_is_named_and_the_process_goes_on(folder: Path, two: decoding.Decoders, bad: int) -> None:
    path = folder / f"{bad:02}.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    feed = open_feed(FeedSpec(folder, preprocess=ROWS), (PREPARED,))
    rows = list(range(1, 12))
    for _ in range(3):
        with pytest.raises(BadSample, match=rf"{path.name}: a damaged image") as raised:
            read(feed, rows, two)
        assert raised.value.row == bad
    rows.remove(bad)
    assert np.array_equal(read(feed, rows, two), read(feed, rows, None))


def test_an_image_that_does_not_suit_the_rows_is_named(folder: Path) -> None:
    rows = ({"crop": {"size": [31, 16]}}, *ROWS[2:])
    feed = open_feed(FeedSpec(folder, preprocess=rows), (TensorInfo("x", "float", ("batch", 3, 31, 16)),))
    with (
        contextlib.closing(decoding.Decoders(rows, 1, folder / "00.png")) as one,
        pytest.raises(BadSample, match=r"00\.png: preprocess: crop to 31 x 16 of a sample of 30 x 40"),
    ):
        read(feed, [0], one)


def test_a_process_that_dies_is_an_error_not_a_wait(folder: Path) -> None:
    feed = open_feed(FeedSpec(folder, preprocess=ROWS), (PREPARED,))
    with contextlib.closing(decoding.Decoders(ROWS, 1, folder / "00.png")) as one:
        read(feed, [0], one)
        os.kill(one._all[0].process.pid, signal.SIGKILL)
        with pytest.raises(TrtconvError, match="a process that decodes images ended with status -9"):
            read(feed, [1], one)


def test_processes_end_with_their_owner(folder: Path) -> None:
    with decoding.decoders(ROWS, 2, folder / "missing.png") as found:
        assert found is not None
        processes = [decoder.process for decoder in found._all]
    assert all(process.returncode == 0 for process in processes)
    with decoding.decoders(ROWS, 0, folder / "00.png") as none:
        assert none is None


@pytest.mark.parametrize("strict", [False, True])
def test_infer_leaves_a_bad_image_out_or_stops(folder: Path, strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx import helper

    from tests.engines.models import save
    from trtconv.stages import infer as stage

    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["m"]), helper.make_node("Flatten", ["m"], ["y"])]
    model = save(folder.parent / "mean.onnx", nodes, [], shape=("batch", 3, 16, 18), output=("batch", 3))
    whole = (folder / "07.jpg").read_bytes()
    (folder / "07.jpg").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(stage, "_readers", lambda *_: 2)
    request = stage.InferRequest(
        model, FeedSpec(folder, preprocess=ROWS), folder.parent / "out.npz", batch=5, strict=strict
    )
    if strict:
        with pytest.raises(UsageError, match=r"07\.jpg: a damaged image"):
            stage.infer(request, ignore)
        assert not (folder.parent / "out.npz").exists()
        return
    result = stage.infer(request, ignore)
    (why,) = result.skipped
    assert "07.jpg: a damaged image" in why
    rest = [number for number in range(12) if number != 7]
    feed = open_feed(FeedSpec(folder, preprocess=ROWS), (PREPARED,))
    expected = read(feed, rest, None).mean((2, 3))
    assert np.load(folder.parent / "out.npz")["y"] == pytest.approx(expected, abs=1e-5)

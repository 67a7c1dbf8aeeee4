"""Image files: what they hold, and what is said of those that hold none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data import images
from trtconv.data.feeds import BadSample, open_feed

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_lossless_formats_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path, lossless=True)
    assert np.array_equal(images.decode(path), PIXELS)
    assert images.size(path) == (20, 30)


@pytest.mark.parametrize(("mode", "wanted"), [("L", 3), ("RGBA", 3), ("P", 3), ("1", 3), ("CMYK", 3)])
def test_all_modes_become_rgb(tmp_path: Path, mode: str, wanted: int) -> None:
    source = Image.fromarray(PIXELS).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    source.save(path)
    found = images.decode(path)
    assert (found.shape, found.dtype) == ((20, 30, wanted), np.uint8)
    with Image.open(path) as again:
        assert np.array_equal(found, np.asarray(again.convert("RGB")))


@pytest.mark.parametrize("turned", [False, True])
def test_gray_of_16_bits_keeps_its_upper_8(tmp_path: Path, turned: bool) -> None:
    values = (np.arange(24, dtype=np.uint16) * 2700).reshape(4, 6)
    exif = Image.Exif()
    exif[274] = 3  # upside down
    Image.fromarray(values).save(tmp_path / "a.png", **({"exif": exif} if turned else {}))
    found = images.decode(tmp_path / "a.png")
    expected = (values[::-1, ::-1] if turned else values) // 256
    assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))


def test_an_image_is_turned_as_its_camera_was(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(images.decode(tmp_path / "a.png"), np.rot90(PIXELS, -1))
    assert images.size(tmp_path / "a.png") == (30, 20)


@pytest.mark.parametrize("cut", [10, 400])
def test_damaged_images_are_named(tmp_path: Path, cut: int) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:cut])
    with pytest.raises(UsageError, match=r"a\.png: (a damaged image|not an image that can be read)"):
        images.decode(tmp_path / "a.png")


def test_a_folder_of_images_is_read_in_order_and_by_size(tmp_path: Path) -> None:
    for number, width in enumerate((30, 30, 24, 30)):
        Image.fromarray(PIXELS[:, :width] // (number + 1)).save(tmp_path / f"{number}.png")
    feed = open_feed(FeedSpec(tmp_path), (TensorInfo("x", "uint8", ("batch", 20, "width", 3)),))
    groups = [rows.tolist() for rows in feed.groups(2)]
    assert groups == [[0, 1], [2], [3]] or sorted(groups) == [[0, 1], [2], [3]]
    assert feed.files(np.array([2, 3])) == ["2.png", "3.png"]
    assert [batch["x"].shape for batch in feed.batches(2)] == [(2, 20, 30, 3), (1, 20, 24, 3), (1, 20, 30, 3)]
    usual, other = feed.usual([np.array(rows) for rows in groups])
    assert usual is None
    assert other is not None


def test_the_usual_shape_is_that_of_most_batches(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((10, 4), np.float32))
    feed = open_feed(FeedSpec(tmp_path / "x.npy"), (TensorInfo("x", "float", ("batch", 4)),))
    assert feed.usual(list(feed.groups(4))) == ({"x": (4, 4)}, {"x": (2, 4)})
    assert feed.usual(list(feed.groups(5))) == ({"x": (5, 4)}, None)


def test_a_file_that_is_no_image_is_left_out_or_ends_it(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("hello")
    info = (TensorInfo("x", "uint8", ("batch", 20, 30, 3)),)
    said: list[str] = []
    assert len(open_feed(FeedSpec(tmp_path), info, lambda problem: said.append(problem.message))) == 1
    assert "b.png: not an image that can be read" in said[0]
    with pytest.raises(UsageError, match=r"b\.png: not an image"):
        open_feed(FeedSpec(tmp_path), info)


def test_raw_files_hold_whole_samples(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    values.tofile(tmp_path / "a.raw")
    info = TensorInfo("x", "float", ("batch", 2, 3))
    feed = open_feed(FeedSpec(tmp_path / "a.raw"), (info,))
    assert np.array_equal(np.concatenate([batch["x"] for batch in feed.batches(3)]), values)
    (tmp_path / "b.bin").write_bytes(values.tobytes()[:-4])
    with pytest.raises(UsageError, match=r"b\.bin: 92 bytes, and one sample of input 'x' has 24"):
        open_feed(FeedSpec(tmp_path / "b.bin"), (info,))
    with pytest.raises(UsageError, match="raw bytes do not tell the shape of input 'x'"):
        open_feed(FeedSpec(tmp_path / "a.raw"), (TensorInfo("x", "float", ("batch", "n")),))


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((10, 400), np.float32))
    feed = open_feed(FeedSpec(tmp_path / "x.npy"), (TensorInfo("x", "float", ("batch", 400)),))
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(UsageError, match=r"x\.npy: cannot be read, it is truncated"):
        feed.read(np.arange(10), {"x": np.empty((10, 400), np.float32)})


def test_a_value_that_is_not_finite_is_named_with_its_sample(tmp_path: Path) -> None:
    values = np.zeros((10, 4), np.float32)
    values[7, 2] = np.inf
    np.save(tmp_path / "x.npy", values)
    feed = open_feed(FeedSpec(tmp_path / "x.npy"), (TensorInfo("x", "float", ("batch", 4)),))
    with pytest.raises(BadSample, match="sample 7 of input 'x' holds NaN, infinity") as raised:
        feed.read(np.arange(5, 10), {"x": np.empty((5, 4), np.float32)})
    assert raised.value.row == 7

"""Files that call themselves images: read, or left out by name."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli
from tests.small_jobs import one_op
from trtconv.core.errors import UsageError
from trtconv.data import images

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def exif_of(kind: int, value: bytes) -> bytes:
    """An orientation of any type."""
    entry = struct.pack("<HHI4s", 274, kind, len(value) or 1, value.ljust(4, b"\0")[:4])
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_every_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    from PIL import ImageOps

    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[274] = orientation
    Image.fromarray(NOISE).save(path, exif=exif)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert images.size(path) == wanted.shape[:2]
    assert np.array_equal(images.decode(path), wanted)


@pytest.mark.parametrize("exif", [exif_of(2, b"6"), exif_of(7, b"\6\0"), exif_of(3, b"\x63\0"), b"Exif\0\0II", b"?"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_orientation_that_makes_no_sense_turns_nothing(tmp_path: Path, exif: bytes, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(NOISE).save(path, exif=exif)
    assert images.size(path) == (40, 60)
    assert images.decode(path).shape == (40, 60, 3)


def test_damage_of_any_kind_is_told_by_name(tmp_path: Path) -> None:
    draw, read = random.Random(0), 0
    for suffix in ("png", "jpg", "bmp", "webp"):
        whole = tmp_path / f"whole.{suffix}"
        Image.fromarray(NOISE).save(whole)
        data = whole.read_bytes()
        for number in range(60):
            cut = data[: draw.randrange(len(data))] if draw.random() < 0.5 else data
            broken = bytearray(cut)
            for _ in range(draw.randrange(1, 20) if broken else 0):
                broken[draw.randrange(len(broken))] = draw.randrange(256)
            path = tmp_path / f"{number}.{suffix}"
            path.write_bytes(broken)
            for work in (images.size, images.decode):
                told = ""
                try:
                    work(path)
                except UsageError as error:
                    told = error.message
                assert not told or path.name in told
                read += not told
    assert read > 20


def test_the_size_of_a_png_is_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, compress_level=1)
    began = time.perf_counter()
    images.size(path)
    asked = time.perf_counter()
    images.decode(path)
    assert (asked - began) * 5 < time.perf_counter() - asked


def test_a_huge_image_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (20000, 10000)).save(path)
    with pytest.raises(UsageError, match=r"huge.png: an image of more than 179 megapixels"):
        images.size(path)


@pytest.mark.parametrize("what", ["truncated", "exif"])
def test_a_folder_with_one_odd_photograph(trtconv: Cli, tmp_path: Path, what: str) -> None:
    one_op(tmp_path / "m.onnx", dims=["batch", "h", "w", 3])
    folder = tmp_path / what
    folder.mkdir()
    Image.fromarray(NOISE).save(folder / "a.png")
    if what == "truncated":
        data = (folder / "a.png").read_bytes()
        (folder / "b.png").write_bytes(data[: len(data) // 2])
    else:
        Image.fromarray(NOISE).save(folder / "b.jpg", exif=exif_of(2, b"6"))
    done = trtconv("infer", "m.onnx", "--data", what, "-o", "y.npz", "--quiet")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "y.npz")["y"].shape == (1 if what == "truncated" else 2, 40, 60, 3)
    assert done.stderr.count("b.png") == (1 if what == "truncated" else 0)

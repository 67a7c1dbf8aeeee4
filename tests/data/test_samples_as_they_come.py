"""Files of samples as users have them: read as they are, or told by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.conftest import Cli
from tests.small_jobs import one_op
from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.feeds import Feed, open_feed
from trtconv.data.postprocess_rows import read_labels
from trtconv.data.sample_trace import fits

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
PICTURE = TensorInfo("x", "uint8", ("batch", "height", "width", 3))
FLOATS = TensorInfo("x", "float", ("batch", 4))


def feed(path: Path, info: TensorInfo = PICTURE, left_out: list[str] | None = None) -> Feed:
    bad = None if left_out is None else lambda problem: left_out.append(problem.message)
    return open_feed(FeedSpec(path), (info,), bad)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "CMYK"),
        ("a.jpeg", "YCbCr"),
        ("A.JPG", "RGB"),
        ("a.png", "P"),
        ("a.PNG", "RGBA"),
        ("a.png", "LA"),
        ("a.bmp", "1"),
        ("a.webp", "RGBA"),
    ],
)
def test_any_mode_is_what_pillow_makes_of_it(tmp_path: Path, name: str, mode: str) -> None:
    path = tmp_path / name
    Image.fromarray(NOISE).convert(mode).save(path)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(next(feed(path).batches(1))["x"][0], wanted)


def test_images_that_are_not_read_are_told(tmp_path: Path) -> None:
    picture = Image.fromarray(NOISE)
    for name in ("a.png", "b.tif", "c.gif"):
        picture.save(tmp_path / name)
    for name in ("d.heic", "plot.svg", "readme.txt", ".e.tiff"):
        (tmp_path / name).write_text("?")
    left_out: list[str] = []
    assert len(feed(tmp_path, left_out=left_out)) == 1
    assert [message.rpartition("/")[2] for message in left_out] == [
        f"{name}: images of this kind are not read" for name in ("b.tif", "c.gif", "d.heic")
    ]
    with pytest.raises(UsageError, match=r"b\.tif: images of this kind are not read"):
        feed(tmp_path)
    np.save(tmp_path / "0.npy", np.ones(4, np.float32))
    (tmp_path / "a.png").unlink()
    assert len(feed(tmp_path, FLOATS)) == 1  # pictures beside arrays are for people


@pytest.mark.parametrize(("names", "says"), [((), "it is empty"), (("a.tif", "b.txt"), r"only \.tif, \.txt")])
def test_a_folder_without_samples(tmp_path: Path, names: tuple[str, ...], says: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"no samples in this folder; {says}"):
        feed(tmp_path)


def test_files_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png", "2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(NOISE).save(tmp_path / name)
    assert feed(tmp_path).files(np.arange(3)) == ["2.png", "cat/1.png", "dog/1.png"]
    assert feed(tmp_path / "cat").files(np.arange(1)) == ["1.png"]
    assert feed(tmp_path / "*.png").files(np.arange(1)) == ["2.png"]
    assert feed(tmp_path / "2.png").files(np.arange(1)) is None


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_rows_of_several_lengths(tmp_path: Path, name: str) -> None:
    rows = np.array([np.ones(3), np.ones(4)], object)
    np.save(tmp_path / name, rows, allow_pickle=True) if name == "a.npy" else np.savez(tmp_path / name, x=rows)
    with pytest.raises(UsageError, match="holds Python objects, not numbers"):
        feed(tmp_path / name, FLOATS)


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        (np.full((2, 4), 200, np.uint8), "int8", "takes int8, which cannot hold all"),
        (np.full((2, 4), np.nan, np.float32), "float", "holds NaN"),
        (np.full((2, 4), 1e300), "float", "value that float32 cannot hold"),
        (np.full((2, 4), 2**53 + 1), "float", "takes float32, which cannot hold all"),
        (np.ones((2, 4), complex), "float", "complex128 values"),
    ],
)
def test_a_first_sample_is_looked_at(tmp_path: Path, values: np.ndarray, kind: str, says: str) -> None:
    np.save(tmp_path / "x.npy", values)
    info = TensorInfo("x", kind, ("batch", 4))
    with pytest.raises(UsageError, match=says):
        fits(FeedSpec(tmp_path / "x.npy"), (info,), strict=True)


@pytest.mark.parametrize(
    "text", ["cat\ndog", "cat\ndog\n\n", "\ufeffcat\r\ndog\r\n", "cat\rdog\r"], ids=["no end", "ends", "Windows", "Mac"]
)
def test_class_names_of_any_editor(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_bytes(text.encode())
    assert read_labels(tmp_path / "classes.txt") == ["cat", "dog"]


@pytest.mark.parametrize(
    ("data", "says", "hint"),
    [
        (b"cat\n\ndog\n", "line 2 is empty", "name it"),
        (b"\ncat\n", "line 1 is empty", "name it"),
        ("cat\ndog\n".encode("utf-16"), "cannot be read", "UTF-8"),
        ("Zürich\n".encode("latin-1"), "cannot be read", "UTF-8"),
        (b" \n", "no labels", "one class per line"),
    ],
)
def test_class_names_that_are_none(tmp_path: Path, data: bytes, says: str, hint: str) -> None:
    (tmp_path / "classes.txt").write_bytes(data)
    with pytest.raises(UsageError, match=says) as caught:
        read_labels(tmp_path / "classes.txt")
    assert hint in caught.value.hint


def test_names_that_are_no_text(trtconv: Cli, tmp_path: Path) -> None:
    """In a locale without UTF-8: files of samples are written by name, folders of models refused by name."""
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    odd = os.fsdecode(b"f\xff")
    one_op(tmp_path / "m.onnx", "Identity", "uint8", ["batch", "h", "w", 3])
    for name in (f"photos/{odd}.png", f"photos/{odd}/é.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1), (1, 2, 3)).save(os.fsencode(tmp_path / name), "PNG")
    done = trtconv("infer", "m.onnx", "--data", "photos", "-o", "y.csv", env=env)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "y.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert rows == ["0,f\\xff/é.png,1,2,3", "1,f\\xff.png,1,2,3"]
    (tmp_path / odd).mkdir()
    one_op(tmp_path / odd / "model.onnx")
    (tmp_path / odd / "job.yaml").write_text("version: 1\nsource: {path: model.onnx}\n")
    done = trtconv("check", f"{odd}/job.yaml", env=env)
    assert done.returncode == 2
    assert "a path that is not UTF-8" in done.stderr

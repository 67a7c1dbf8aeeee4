"""Pictures packed for the GPU: with the kernels' arithmetic they become what the processor makes of them, bit by bit.

The arithmetic is NumPy's here; tests of the GPU run the kernels themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data import kernels
from trtconv.core.errors import UsageError
from trtconv.data import images, preprocess, scaling

NORMALIZE = {"normalize": {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}
SHORTER = ({"resize": {"size": [64, 64], "fit": "shorter"}}, {"crop": {"size": [56, 48]}})
BGR, RGB = {"channels": {"to": "bgr"}}, {"channels": {"to": "rgb"}}
PLANAR = {"layout": {"to": "nchw"}}
CHAINS: Mapping[str, Sequence[Mapping[str, object]]] = {
    "usual": (*SHORTER, NORMALIZE, PLANAR),
    "stretch": ({"resize": {"size": [33, 70]}}, NORMALIZE, PLANAR),
    "stretch and crop": ({"resize": {"size": [80, 90]}}, {"crop": {"size": [7, 81]}}, NORMALIZE),
    "letterbox": ({"letterbox": {"size": [64, 48]}}, NORMALIZE, PLANAR),
    "letterbox of a colour": ({"letterbox": {"size": [31, 77], "fill": [1, 20, 255]}}, BGR),
    "bytes": SHORTER,
    "bytes, planar": (*SHORTER, PLANAR),
    "bgr, then normalize": (*SHORTER, BGR, NORMALIZE, PLANAR),
    "normalize, then bgr": (*SHORTER, NORMALIZE, BGR, PLANAR),
    "bgr twice": (*SHORTER, BGR, NORMALIZE, BGR, {"layout": {"to": "nhwc"}}),
    "planar first": (*SHORTER, PLANAR, BGR, NORMALIZE),
    "there and back": (*SHORTER, PLANAR, BGR, {"layout": {"to": "nhwc"}}, RGB, NORMALIZE),
    "one number for all": (*SHORTER, {"normalize": {"scale": 2.0, "mean": 127.5, "std": 58.0}}, RGB),
}
SIZES = ((375, 500), (64, 64), (61, 350), (1000, 70), (33, 70), (20, 24), (90, 81))


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def made(chain: preprocess.Chain, pictures: Sequence[Any], capacity: int | None = None) -> np.ndarray:
    """Samples, by way of a parcel."""
    recipe = scaling.recipe(chain)
    assert recipe is not None
    memory = np.full(capacity or recipe.capacity, 255, np.uint8)
    parcel = scaling.Parcel(recipe, memory, len(pictures))
    for each in pictures:
        parcel.add(each)
    contents = parcel.contents()
    assert contents.samples == len(pictures)
    words = np.full(contents.room // 4, -1, np.int32)
    words[: contents.size // 4] = memory[: contents.size].view(np.int32)
    form = chain.form((None, None, 3), np.dtype(np.uint8))
    samples = np.empty((len(pictures), *map(int, form.shape)), form.dtype)  # type: ignore[arg-type]
    kernels.first(words, len(pictures))
    kernels.second(words, samples)
    return samples


@pytest.mark.parametrize("name", CHAINS)
def test_samples_are_the_processors_bit_by_bit(name: str) -> None:
    chain = preprocess.prepare(CHAINS[name])
    assert chain is not None
    pictures = [picture(*size, seed=number) for number, size in enumerate(SIZES)]
    for sample, source in zip(made(chain, pictures), pictures, strict=True):
        expected = np.empty(sample.shape, sample.dtype)
        chain.into(source, expected)
        assert np.array_equal(sample, expected), source.size


@pytest.mark.parametrize("extreme", [0, 255])
def test_rounding_never_leaves_a_byte(extreme: int) -> None:
    chain = preprocess.prepare(CHAINS["bytes"])
    assert chain is not None
    assert (made(chain, [Image.new("RGB", (301, 287), (extreme,) * 3)]) == extreme).all()


@pytest.mark.parametrize("size", [1, 2, 7, 100, 375, 4000])
@pytest.mark.parametrize("count", [1, 3, 64, 224, 1000])
def test_weights_are_pillows(size: int, count: int) -> None:
    """One column of pixels that are all 0 but one shows the weight of that one, to 8 bits; many show the spans."""
    first, weights = scaling.taps(size, count, 0, count)
    assert (first[:, 1] <= weights.shape[1]).all()
    total = weights.astype(np.int64).sum(axis=1)
    assert (np.abs(total - (1 << 22)) <= weights.shape[1]).all()
    for lit in {0, size // 2, size - 1}:
        line = np.zeros((size, 1), np.uint8)
        line[lit] = 255
        scaled = np.asarray(Image.fromarray(line).resize((1, count), Image.Resampling.BILINEAR))[:, 0]
        place = lit - first[:, 0]
        inside = (place >= 0) & (place < first[:, 1])
        weight = np.where(inside, weights[np.arange(count), np.clip(place, 0, weights.shape[1] - 1)], 0)
        assert np.array_equal(scaled, (255 * weight.astype(np.int64) + (1 << 21)) >> 22)


def test_a_picture_too_large_for_the_memory_is_scaled_first() -> None:
    chain = preprocess.prepare(CHAINS["usual"])
    recipe = scaling.recipe(chain)
    assert chain is not None
    assert recipe is not None
    assert not scaling.Parcel(recipe, np.zeros(recipe.capacity, np.uint8), 4).fits(1500, 2000)
    source = picture(1500, 2000)
    expected = np.empty((3, 56, 48), np.float32)
    chain.into(source, expected)
    assert np.array_equal(made(chain, [source])[0], expected)


def test_a_parcel_says_when_it_is_full() -> None:
    recipe = scaling.recipe(preprocess.prepare(CHAINS["usual"]))
    assert recipe is not None
    parcel = scaling.Parcel(recipe, np.zeros(recipe.capacity, np.uint8), 64)
    number = 0
    while parcel.fits(500, 500):
        parcel.add(picture(500, 500))
        number += 1
    assert 8 <= number <= 13  # of a megabyte each, less what the crop leaves out
    assert parcel.contents().size <= recipe.capacity


def test_large_samples_have_room() -> None:
    recipe = scaling.recipe(preprocess.prepare(({"resize": {"size": [2000, 2000]}},)))
    assert recipe is not None
    assert recipe.capacity > 4 * 2000 * 2000
    assert recipe.capacity % 4096 == 0
    assert scaling.Parcel(recipe, np.zeros(recipe.capacity, np.uint8), 1).fits(2000, 2000)


def test_a_picture_too_small_for_the_crop_is_refused() -> None:
    chain = preprocess.prepare(({"resize": {"size": [20, 20], "fit": "shorter"}}, {"crop": {"size": [21, 10]}}))
    recipe = scaling.recipe(chain)
    assert recipe is not None
    with pytest.raises(UsageError, match="crop to 21 x 10 of a sample of 20 x 20"):
        scaling.Parcel(recipe, np.zeros(recipe.capacity, np.uint8), 1).add(picture(50, 50))


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (NORMALIZE,),
        ({"crop": {"size": [8, 8]}}, NORMALIZE),
        ({"resize": {"size": [8, 8], "fit": "shorter"}}, NORMALIZE),  # samples of many sizes
        (*SHORTER, {"channels": {"to": "gray"}}),
        (*SHORTER, NORMALIZE, NORMALIZE),
        (*SHORTER, {"normalize": {"mean": [1.0, 2.0]}}),
        ({"resize": {"size": [8, 8]}}, {"resize": {"size": [9, 9]}}),
        ({"resize": {"size": [8, 8], "like": "keras"}}, NORMALIZE),
        ({"resize": {"size": [8, 8], "antialias": False}}, NORMALIZE),
        ({"letterbox": {"size": [8, 8], "like": "opencv"}}, NORMALIZE),
    ],
)
def test_other_chains_stay_with_the_processor(rows: Sequence[Mapping[str, object]]) -> None:
    assert scaling.recipe(preprocess.prepare(rows)) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "P"])
def test_pixels_of_every_kind_of_picture(tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture(21, 33).convert(mode).save(path)
    found = images.pixels(images.picture(path)).copy().view(np.uint8).reshape(21, 33, 4)[..., :3]
    assert np.array_equal(found, images.decode(path))
    monkeypatch.delattr(Image.Image, "__arrow_c_array__", raising=False)  # as in older versions of Pillow
    copied = images.pixels(images.picture(path)).copy().view(np.uint8).reshape(21, 33, 4)[..., :3]
    assert np.array_equal(copied, found)


def test_a_canvas_takes_one_photograph_after_the_other(tmp_path: Path) -> None:
    canvas, memory = images.Canvas(), set()
    for number, (height, width) in enumerate([(21, 33), (40, 60), (8, 8), (39, 61)]):
        path = tmp_path / f"{number}.jpg"
        picture(height, width).save(path)
        found = images.picture(path, canvas=canvas)
        pixels = images.pixels(found)
        memory.add(pixels.ctypes.data)
        with Image.open(path) as plain:
            expected = np.asarray(plain)
        assert np.array_equal(pixels.copy().view(np.uint8).reshape(height, width, 4)[..., :3], expected)
        assert np.array_equal(images.array(found), expected)
    assert len(memory) <= 2  # it grew once


@pytest.mark.parametrize("kind", ["gray.jpg", "colors.png", "turned.jpg", "cmyk.jpg"])
def test_what_a_canvas_does_not_hold_is_as_without_it(tmp_path: Path, kind: str) -> None:
    canvas = images.Canvas()
    path = tmp_path / kind
    modes = {"gray.jpg": "L", "cmyk.jpg": "CMYK"}
    turned = Image.Exif()
    turned[274] = 6
    picture(21, 33).convert(modes.get(kind, "RGB")).save(path, exif=turned if kind == "turned.jpg" else b"")
    picture(50, 50).save(tmp_path / "before.jpg")
    images.picture(tmp_path / "before.jpg", canvas=canvas)
    found = images.picture(path, canvas=canvas)
    expected = images.decode(path)
    assert expected.shape == ((33, 21, 3) if kind == "turned.jpg" else (21, 33, 3))
    assert np.array_equal(images.array(found), expected)
    assert np.array_equal(images.pixels(found).copy().view(np.uint8).reshape(*expected.shape[:2], 4)[..., :3], expected)


def test_a_photograph_that_breaks_off_is_damaged_on_a_canvas_too(tmp_path: Path) -> None:
    canvas = images.Canvas()
    picture(40, 60).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(UsageError, match=r"half\.jpg: a damaged image"):
        images.picture(tmp_path / "half.jpg", canvas=canvas)
    again = images.pixels(images.picture(tmp_path / "whole.jpg", canvas=canvas)).copy()
    assert np.array_equal(again.view(np.uint8).reshape(40, 60, 4)[..., :3], images.decode(tmp_path / "whole.jpg"))


def test_the_compiled_kernels_are_those_of_the_source() -> None:
    source = Path(scaling.__file__).with_suffix(".cu").read_bytes()
    head, body = scaling.ptx().decode().split("\n", 1)
    assert head == f"// scaling.cu {hashlib.sha256(source).hexdigest()}"
    assert ".target sm_75" in body
    assert ".version 8.0" in body
    assert "fma" not in body  # a fused operation would round once where NumPy rounds twice

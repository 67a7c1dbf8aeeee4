"""Preprocessing rows against Pillow and NumPy used by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from trtconv.core.errors import UsageError
from trtconv.data.preprocess import prepare

PIXELS = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)).resize((120, 90)))
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def made(*rows: dict[str, Any], sample: Any = PIXELS) -> np.ndarray:
    """The sample after the rows; written to an array of the right form, it is the same."""
    chain = prepare(rows)
    assert chain is not None
    chain.form(np.asarray(sample).shape, np.asarray(sample).dtype)
    result = chain(sample)
    form = chain.form(np.asarray(sample).shape, np.asarray(sample).dtype)
    assert (form.shape, form.dtype) == (result.shape, result.dtype)
    out = np.full(result.shape, 77, result.dtype)
    chain.into(sample, out)
    assert np.array_equal(out, result)
    return result


def by_pillow(width: int, height: int, sample: np.ndarray = PIXELS) -> np.ndarray:
    return np.asarray(Image.fromarray(sample).resize((width, height), Image.Resampling.BILINEAR))


def test_resize_stretches_or_keeps_the_shape() -> None:
    assert np.array_equal(made({"resize": {"size": [30, 50]}}), by_pillow(50, 30))
    assert np.array_equal(made({"resize": {"size": [45, 45], "fit": "shorter"}}), by_pillow(60, 45))


def test_crop_takes_the_middle() -> None:
    assert np.array_equal(made({"crop": {"size": [40, 60]}}), PIXELS[25:65, 30:90])


def test_a_crop_after_a_resize_computes_only_what_stays() -> None:
    """One scaling of a part instead of a part of one scaling: fixed-point rounding differs by one at most."""
    found = made({"resize": {"size": [45, 45], "fit": "shorter"}}, {"crop": {"size": [32, 40]}})
    wanted = by_pillow(60, 45)[6:38, 10:50]
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("form", [PIXELS, Image.fromarray(PIXELS)], ids=["array", "picture"])
def test_what_image_networks_want(form: Any) -> None:
    rows = (
        {"resize": {"size": [64, 64], "fit": "shorter"}},
        {"crop": {"size": [56, 56]}},
        {"normalize": {"scale": 1 / 255, "mean": MEAN, "std": STD}},
        {"layout": {"to": "nchw"}},
    )
    found = made(*rows, sample=form)
    scaled = by_pillow(85, 64)[4:60, 14:70]
    wanted = ((scaled / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    assert found.dtype == np.float32
    assert found == pytest.approx(wanted, abs=1 / 255 / 0.22 + 1e-5)  # one step of the scaling's rounding


def test_normalize_with_one_number_for_all_channels() -> None:
    assert made({"normalize": {"scale": 0.5, "mean": 3.0, "std": 2.0}}) == pytest.approx((PIXELS * 0.5 - 3) / 2)


def test_letterbox_shows_everything_between_bars() -> None:
    found = made({"letterbox": {"size": [60, 60], "fill": 9}})
    assert np.array_equal(found[7:52], by_pillow(60, 45))
    assert (found[:7] == 9).all()
    assert (found[52:] == 9).all()


def test_channels() -> None:
    assert np.array_equal(made({"channels": {"to": "bgr"}}), PIXELS[..., ::-1])
    gray = made({"channels": {"to": "gray"}})
    luma = np.asarray(Image.fromarray(PIXELS).convert("L")).astype(int)
    assert gray.shape == (90, 120, 1)
    assert np.array_equal(gray[..., 0], luma)
    assert np.array_equal(made({"layout": {"to": "nchw"}}, {"layout": {"to": "nhwc"}}).shape, (90, 120, 3))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"rezise": {"size": [1, 1]}}, "row 1: unknown operation 'rezise'"),
        ({"resize": {"size": [1, 1]}, "crop": {"size": [1, 1]}}, "expected one operation, got resize, crop"),
        ({"resize": {}}, r"resize: expected size as \[height, width\]"),
        ({"resize": {"size": [0, 4]}}, r"expected size as \[height, width\]"),
        ({"resize": {"size": [4, 4], "fit": "longer"}}, "expected fit as one of stretch, shorter, crop, got 'longer'"),
        ({"resize": {"size": [4, 4], "how": 1}}, "resize has no option 'how'"),
        ({"crop": 5}, "expected options of crop as a mapping, got 5"),
        ({"normalize": {"std": [1, 0, 1]}}, "expected std as a number other than 0"),
        ({"normalize": {"mean": "a"}}, "expected mean as a number"),
        ({"layout": {}}, "expected to as one of .*, got nothing"),
    ],
)
def test_mistakes_are_found_before_anything_runs(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        prepare((row,))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"letterbox": {"size": [4, 4], "fill": 300}}, "fill as a whole number from 0 to 255"),
        ({"letterbox": {"size": [4, 4], "fill": -1}}, "fill as a whole number from 0 to 255"),
        ({"letterbox": {"size": [4, 4], "fill": 0.5}}, "fill as a whole number from 0 to 255"),
        ({"letterbox": {"size": [4, 4], "fill": [1, 2, 256]}}, "fill as a whole number from 0 to 255"),
        ({"letterbox": {"size": [4, 4], "like": "torchvision"}}, "like as one of keras, opencv"),
        ({"normalize": {"mean": float("nan")}}, "expected mean as a number"),
        ({"normalize": {"scale": float("inf")}}, "expected scale as a number"),
        ({"normalize": {"mean": 1e39}}, "expected mean as a number"),
        ({"normalize": {"scale": 1e30, "std": 1e-30}}, "beyond float32"),
        ({"normalize": {"std": 1e-60}}, "expected std as a number other than 0"),
        ({"normalize": {"mean": []}}, "expected mean as a number"),
        ({"normalize": {"mean": [[1, 2, 3]]}}, "expected mean as a number"),
        ({"normalize": {"mean": [1, 2], "std": [1, 2, 3]}}, "different lengths"),
        ({"layout": {"to": "rgb"}}, "expected to as one of nchw, nhwc, got 'rgb'"),
        ({"channels": {"to": "nchw"}}, "expected to as one of rgb, bgr, gray, got 'nchw'"),
        ({"resize": {"size": [4, 4], "like": "opencv", "antialias": True}}, "never averages"),
        ({"resize": {"size": [4, 4], "like": "keras", "fit": "shorter"}}, "no scaling of the shorter side"),
        ({"resize": {"size": [4, 4], "fit": "crop"}}, "does not cut before it scales"),
        ({"resize": {"size": [4, 4], "antialias": "yes"}}, "antialias as true or false"),
        ({"resize": {"size": [10**6, 10**6]}}, "up to 32768"),
    ],
)
def test_values_that_would_give_other_numbers_in_silence(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        prepare((row,))


@pytest.mark.parametrize(
    ("rows", "shape", "dtype", "says"),
    [
        (({"crop": {"size": [91, 20]}},), (90, 120, 3), "uint8", "crop to 91 x 20 of a sample of 90 x 120"),
        (({"resize": {"size": [4, 4]}}, {"crop": {"size": [5, 4]}}), (9, 9, 3), "uint8", "row 2: crop: crop to 5 x 4"),
        (({"normalize": {}}, {"resize": {"size": [4, 4]}}), (9, 9, 3), "uint8", "8-bit samples, not float32"),
        (({"normalize": {}}, {"letterbox": {"size": [4, 4]}}), (9, 9, 3), "uint8", "8-bit samples, not float32"),
        (({"resize": {"size": [4, 4]}},), (9, 9, 3), "uint16", "8-bit samples, not uint16"),
        (({"crop": {"size": [2, 2]}},), (4, 5), "uint8", r"\[height, width, channels\], not on \[4, 5\]"),
        (({"normalize": {"mean": [1, 2, 3, 4]}},), (9, 9, 3), "uint8", "row 1: normalize: mean has 4 .* 3"),
        (({"channels": {"to": "gray"}}, {"normalize": {"std": [1, 2, 3]}}), (9, 9, 3), "uint8", "row 2: .* 1 channels"),
        (({"letterbox": {"size": [4, 4], "fill": [1, 2, 3]}},), (9, 9, 1), "uint8", "fill has 3 numbers"),
        (({"channels": {"to": "bgr"}},), (9, 9, 4), "uint8", "samples of 1 or 3 channels, not 4"),
        (({"resize": {"size": [4, 4]}},), (3, 224, 224), "uint8", "would have 224 channels"),
    ],
)
def test_a_chain_is_checked_as_a_whole(
    rows: tuple[dict[str, Any], ...], shape: tuple[int, ...], dtype: str, says: str
) -> None:
    chain = prepare(rows)
    assert chain is not None
    with pytest.raises(UsageError, match=says):
        chain.form(shape, np.dtype(dtype))


PLANAR, BGR = {"layout": {"to": "nchw"}}, {"channels": {"to": "bgr"}}


@pytest.mark.parametrize(
    "row",
    [
        BGR,
        {"channels": {"to": "gray"}},
        {"normalize": {"mean": [1, 2, 3], "std": [4, 5, 6]}},
        {"resize": {"size": [20, 33]}},
        {"crop": {"size": [7, 9]}},
        {"letterbox": {"size": [20, 33], "fill": [7, 8, 9]}},
    ],
)
def test_a_row_after_the_layout_does_what_it_does_before(row: dict[str, Any]) -> None:
    assert np.array_equal(made(PLANAR, row), made(row, PLANAR))
    assert np.array_equal(made(PLANAR, row, {"layout": {"to": "nhwc"}}), made(row))


def test_the_order_of_channels_is_known() -> None:
    assert np.array_equal(made(BGR, {"channels": {"to": "rgb"}}), PIXELS)
    assert np.array_equal(made(BGR, BGR), PIXELS[..., ::-1])
    assert np.array_equal(made(BGR, {"channels": {"to": "gray"}}), made({"channels": {"to": "gray"}}))
    gray = {"channels": {"to": "gray"}}
    assert np.array_equal(made(gray, {"channels": {"to": "rgb"}}), np.repeat(made(gray), 3, axis=2))


def test_whole_numbers_stay_whole_and_of_their_type() -> None:
    wide = PIXELS.astype(np.int16) * 100
    luma = np.rint(wide @ np.array([0.299, 0.587, 0.114]))
    assert np.array_equal(made({"channels": {"to": "gray"}}, sample=wide)[..., 0], luma)
    assert made({"normalize": {"scale": 2.0}}, sample=PIXELS.astype(np.float64)).dtype == np.float32


def test_four_channels_are_no_transparency() -> None:
    sample = np.concatenate([PIXELS, PIXELS[..., :1] // 2], axis=2)
    found = made({"resize": {"size": [30, 50]}}, {"crop": {"size": [20, 20]}}, sample=sample)
    assert np.abs(found[..., :3].astype(int) - by_pillow(50, 30)[5:25, 15:35]).max() <= 1

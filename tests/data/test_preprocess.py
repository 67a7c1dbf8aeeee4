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
    result = chain(sample)
    shape = np.asarray(sample).shape
    assert chain.shape(shape) == result.shape
    assert chain.dtype(np.dtype(np.uint8)) == result.dtype
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
    assert np.abs(gray[..., 0] - luma).max() <= 1
    assert np.array_equal(made({"layout": {"to": "nchw"}}, {"layout": {"to": "nhwc"}}).shape, (3, 90, 120))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"rezise": {"size": [1, 1]}}, "row 1: unknown operation 'rezise'"),
        ({"resize": {"size": [1, 1]}, "crop": {"size": [1, 1]}}, "expected one operation, got resize, crop"),
        ({"resize": {}}, r"resize: expected size as \[height, width\]"),
        ({"resize": {"size": [0, 4]}}, r"expected size as \[height, width\]"),
        ({"resize": {"size": [4, 4], "fit": "longer"}}, "expected fit as one of stretch, shorter, got 'longer'"),
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


def test_samples_that_do_not_suit() -> None:
    with pytest.raises(UsageError, match="crop to 91 x 20 of a sample of 90 x 120"):
        made({"crop": {"size": [91, 20]}})
    with pytest.raises(UsageError, match="crop to 46 x 20 of a sample of 45 x 60"):
        made({"resize": {"size": [45, 45], "fit": "shorter"}}, {"crop": {"size": [46, 20]}})
    with pytest.raises(UsageError, match="resize scales 8-bit samples, not float32"):
        made({"normalize": {}}, {"resize": {"size": [4, 4]}})
    chain = prepare(({"crop": {"size": [2, 2]}},))
    assert chain is not None
    with pytest.raises(UsageError, match=r"works on samples of \[height, width, channels\], not on \[4, 5\]"):
        chain.shape((4, 5))

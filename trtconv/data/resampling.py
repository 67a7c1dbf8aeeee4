"""How images are scaled and cut by the libraries that networks are trained with; samples are [height, width, channels].

Sources: torchvision 0.29 (``transforms.Resize``, ``CenterCrop``), Keras 3.15 (``layers.Resizing``, ``CenterCrop``),
OpenCV 5 (``dnn.blobFromImageWithParams``, ``resize`` with INTER_LINEAR). tests/data/test_conventions.py compares with
each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.data import images
from trtconv.data.conventions import Convention

ANTIALIASES: Mapping[str, bool] = {
    "": True,
    Convention.TORCHVISION: True,
    Convention.KERAS: False,
    Convention.OPENCV: False,
}
"""Whether pixels are averaged where an image shrinks, unless a row says it, by convention; empty: Pillow's own way."""


class Placing(NamedTuple):
    """What scaling makes of a sample.

    Attributes:
        height: of the whole, scaled.
        width: likewise.
        window: the part of it that is computed.
        top: of this part in the result.
        left: likewise.
    """

    height: int
    width: int
    window: images.Window
    top: int = 0
    left: int = 0


def antialias(options: Mapping[str, Any]) -> bool:
    """Whether a row's scaling averages: what it says, else its library's default."""
    chosen = options["antialias"]
    return ANTIALIASES[options["like"]] if chosen is None else bool(chosen)


def covering(high: int, wide: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width where the shorter side reaches its size: the other one is cut to whole pixels, or rounded."""
    height, width = options["size"]
    if options["like"] == Convention.OPENCV:
        factor = max(_single(height, high), _single(width, wide))
        return round(high * factor), round(wide * factor)
    if height * wide >= width * high:
        return height, int(height * wide / high)
    return int(width * high / wide), width


def middle(height: int, width: int, options: Mapping[str, Any]) -> images.Window:
    """The middle part; an odd margin is larger before it or after it.

    Raises:
        UsageError: the sample is smaller, and nobody said what to fill it up with.
    """
    high, wide = options["size"]
    if height < high or width < wide:
        raise UsageError(
            f"preprocess: crop to {high} x {wide} of a sample of {height} x {width}",
            hint="resize before: - resize: {size: [...], fit: shorter}",
        )
    begin: Callable[[int], int] = (
        (lambda margin: round(margin / 2)) if options["like"] == Convention.TORCHVISION else _half
    )
    return begin(height - high), begin(width - wide), high, wide


def _half(margin: int) -> int:
    return margin // 2


def place_box(high: int, wide: int, options: Mapping[str, Any]) -> Placing:
    """A whole sample in the middle of a size."""
    height, width = options["size"]
    factor = min(height / high, width / wide)
    inner = max(round(high * factor), 1), max(round(wide * factor), 1)
    if options["like"] == Convention.OPENCV:
        single = np.float32(min(_single(height, high), _single(width, wide)))
        inner = max(int(np.float32(high) * single), 1), max(int(np.float32(wide) * single), 1)
    return Placing(*inner, (0, 0, *inner), (height - inner[0]) // 2, (width - inner[1]) // 2)


def _single(wanted: int, have: int) -> float:
    """A quotient in float32, as OpenCV computes factors."""
    return float(np.float32(wanted) / np.float32(have))


def resize(sample: Any, options: Mapping[str, Any]) -> np.ndarray:
    """A sample, scaled to a size, or so that its shorter side reaches it, or cut to its shape before."""
    high, wide, _ = images.shape(sample)
    if options["fit"] == "crop":
        top, left, rows, columns = _of_shape(high, wide, *options["size"])
        sample = images.array(sample)[top : top + rows, left : left + columns]
    if options["fit"] != "shorter":
        return _as_asked(sample, options["size"], options)
    height, width = covering(high, wide, options)
    if antialias(options) or options["like"] != Convention.OPENCV:
        return _as_asked(sample, (height, width), options)
    rows, columns = options["size"]
    step = 1 / max(_single(rows, high), _single(columns, wide))  # OpenCV's, also where the size was rounded
    return bilinear(images.array(sample), (height, width), (step, step))


def letterbox(sample: Any, options: Mapping[str, Any]) -> np.ndarray:
    """The whole sample in the middle of the size, with bars of the fill value."""
    high, wide, channels = images.shape(sample)
    if options["like"] == Convention.KERAS:
        return _as_asked(_padded(images.array(sample), options), options["size"], options)
    placing = place_box(high, wide, options)
    box = np.full((*options["size"], channels), options["fill"], np.uint8)
    across = slice(placing.left, placing.left + placing.width)
    inner = _as_asked(sample, (placing.height, placing.width), options)
    box[placing.top : placing.top + placing.height, across] = inner
    return box


def _as_asked(sample: Any, size: Sequence[int], options: Mapping[str, Any]) -> np.ndarray:
    """8-bit values of any number of channels, bilinear, averaged or not."""
    height, width = size
    if not antialias(options):
        high, wide, _ = images.shape(sample)
        return bilinear(images.array(sample), (height, width), (high / height, wide / width))
    if options["like"] == Convention.KERAS:  # TensorFlow does not round between down and across
        channels = [images.exactly(one, height, width) for one in np.moveaxis(images.array(sample), -1, 0)]
        rounded: np.ndarray = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
        return rounded
    return averaged(sample, height, width)


def averaged(sample: Any, height: int, width: int) -> np.ndarray:
    """As Pillow scales, whatever the number of channels."""
    if images.shape(sample)[2] in (1, 3):
        return images.resized(sample, height, width)
    channels = [images.resized(one[..., None], height, width) for one in np.moveaxis(sample, -1, 0)]
    return np.concatenate(channels, axis=-1)  # Pillow would take the last of them for transparency


def bilinear(sample: np.ndarray, size: tuple[int, int], step: tuple[float, float]) -> np.ndarray:
    """Every pixel from the four around it, by pixel centers, rounded to 8 bits.

    Args:
        sample: uint8 [height, width, channels].
        size: height and width of the result.
        step: pixels of the sample per pixel of the result, down and across.
    """
    top, bottom, down = _neighbours(sample.shape[0], size[0], step[0])
    left, right, across = _neighbours(sample.shape[1], size[1], step[1])
    lines = sample[top].astype(np.float32)
    lines += (sample[bottom] - lines) * down[:, None, None]
    made = lines[:, left]
    made += (lines[:, right] - made) * across[:, None]
    rounded: np.ndarray = np.rint(made).astype(np.uint8)
    return rounded


def _neighbours(length: int, count: int, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = np.clip((np.arange(count) + 0.5) * step - 0.5, 0, length - 1)
    first = at.astype(np.int64)
    return first, np.minimum(first + 1, length - 1), (at - first).astype(np.float32)


def _of_shape(high: int, wide: int, height: int, width: int) -> images.Window:
    """The largest middle part that has the shape of a size, as Keras's ``crop_to_aspect_ratio`` finds it."""
    rows = max(min(high, int(np.float32(wide * height) / np.float32(width))), 1)
    columns = max(min(wide, int(np.float32(high * width) / np.float32(height))), 1)
    return (high - rows) // 2, (wide - columns) // 2, rows, columns


def _padded(sample: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """The sample between bars that give it the shape of the size, as Keras's ``pad_to_aspect_ratio`` makes them."""
    (height, width), (high, wide) = options["size"], sample.shape[:2]
    above = (max(high, int(np.float32(wide * height) / np.float32(width))) - high) // 2
    beside = (max(wide, int(np.float32(high * width) / np.float32(height))) - wide) // 2
    box = np.empty((high + 2 * above, wide + 2 * beside, sample.shape[2]), np.uint8)
    box[...] = options["fill"]
    box[above : above + high, beside : beside + wide] = sample
    return box

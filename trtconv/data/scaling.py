"""Preprocessing that a GPU can finish: pictures packed for the kernels of scaling.cu, which give the processor's bytes.

Pillow scales 8-bit pixels in whole numbers: across, then down or the other way round, each value a sum of pixels by
weights with 22 bits of fraction, rounded to 8 bits. The weights are computed here, in float64 as Pillow computes them;
the sums are the GPU's.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtconv.core.packed_images import Contents, Launch
from trtconv.data import images
from trtconv.data.preprocess import Chain, Step
from trtconv.data.resampling import Placing

Words = NDArray[np.int32]
_ONE = 1 << 22  # a weight of 1
_HEAD, _EACH = 16, 16  # words of settings, and of a picture's description: as in scaling.cu
_CAPACITY = 8 << 20  # bytes: of ordinary pictures a few, of large ones at least one
_PAGE = 4096
_BLOCK = (32, 8, 1)
_MOST = 64  # pictures in a parcel
_KEPT = 64  # tables; pictures of one size share them


@dataclass(frozen=True, eq=False)
class Recipe:
    """Preprocessing in the form that the kernels serve: scale, normalize or not, order the channels, lay out.

    Attributes:
        step: the operation that scales.
        height: of a sample.
        width: likewise.
        settings: 16 words for the kernels.
    """

    step: Step
    height: int
    width: int
    settings: Words

    @property
    def capacity(self) -> int:
        """Bytes of memory to pack pictures into: whole pages, with room for one that the processor has scaled."""
        least = 4 * (_HEAD + _EACH * _MOST + self.words(self.height, self.width))
        return -(-max(least, _CAPACITY) // _PAGE) * _PAGE

    def words(self, height: int, width: int) -> int:
        """What a picture of this size takes at most.

        A line's weights are less than twice the pixels that it is made of, and with the spans five more for each pixel
        that is made.
        """
        return height * width + 2 * (height + width) + 5 * (self.height + self.width)


def ptx() -> bytes:
    """The kernels, for any GPU's driver to compile."""
    return Path(__file__).with_suffix(".ptx").read_bytes()


def recipe(chain: Chain | None) -> Recipe | None:
    """A chain as the kernels serve it; None for any other chain."""
    if chain is None or not chain.fixes_size or not chain.steps or not chain.steps[0].by_pillow:
        return None
    scaler, *rest = chain.steps
    finish = _Finish()
    if not all(finish.takes(step) for step in rest):
        return None
    fill = _three(scaler.options["fill"]) if scaler.name == "letterbox" else np.zeros(3, np.float32)
    if fill is None:
        return None
    form = chain.form((None, None, 3), np.dtype(np.uint8))
    height, width = form.height, form.width
    assert height is not None
    assert width is not None
    head = np.array([height, width, chain.first, finish.floats, *finish.order, *fill.astype(np.uint8)], np.int32)
    scale = np.array([finish.factor, finish.offset], np.float32)
    return Recipe(scaler, height, width, np.concatenate([head, scale.view(np.int32).ravel()]))


class _Finish:
    """What comes after scaling, put together row by row; per channel of the sample as it is by then."""

    def __init__(self) -> None:
        self.floats = False
        self.order = np.arange(3)
        self.factor, self.offset = np.ones(3, np.float32), np.zeros(3, np.float32)

    def takes(self, step: Step) -> bool:
        """Add a row; False if that cannot be."""
        options = step.options
        if step.name == "channels" and options["to"] != "gray":
            if (options["to"] == "bgr") != options["swapped"]:
                self.order, self.factor, self.offset = self.order[::-1], self.factor[::-1], self.offset[::-1]
        elif step.name == "normalize" and not self.floats:
            factor, offset = _three(options["scale"] / options["std"]), _three(options["mean"] / options["std"])
            if factor is None or offset is None:
                return False
            self.floats, self.factor, self.offset = True, factor, offset
        else:
            return False
        return True


def _three(values: Any) -> NDArray[np.float32] | None:
    """One number per channel."""
    found = np.asarray(values, np.float32)
    return np.broadcast_to(found, 3) if found.size in (1, 3) and found.ndim < 2 else None


class Parcel:
    """Pictures on their way into memory of a recipe's capacity.

    Args:
        recipe: what is to be made of them.
        memory: where; of the recipe's capacity.
        most: pictures that will come at most, 64 at most.
    """

    def __init__(self, recipe: Recipe, memory: NDArray[np.uint8], most: int) -> None:
        self._recipe, self._words = recipe, memory.view(np.int32)
        self._words[:_HEAD] = recipe.settings
        self._used = _HEAD + _EACH * most
        self._tables: list[_Table] = []

    def fits(self, height: int, width: int) -> bool:
        """Whether there is room for another picture of this size."""
        return self._used + self._recipe.words(height, width) <= len(self._words)

    def add(self, picture: Any) -> None:
        """Put a picture in; one that does not fit is scaled first.

        Raises:
            UsageError: it is too small for a crop.
        """
        height, width = images.shape(picture)[:2]
        if self.fits(height, width):
            table = _placed(self._recipe, height, width)
        else:
            placing = self._recipe.step.place(height, width)
            _, _, high, wide = window = placing.window
            picture = images.resized(picture, placing.height, placing.width, window)
            table = _table(high, wide, Placing(high, wide, (0, 0, high, wide), placing.top, placing.left))
        self._put(images.pixels(picture)[table.part], table)

    def contents(self) -> Contents:
        """What is in it. The kernels' scratch memory comes after what is copied."""
        room = self._used
        for number, table in enumerate(self._tables):
            self._words[_HEAD + _EACH * number + 3] = room
            room += table.scratch[0] * table.scratch[1]
        heights, widths = zip(*(table.scratch for table in self._tables), strict=True)
        first = Launch("first", _grid(max(heights), max(widths), len(heights)), _BLOCK)
        second = Launch("second", _grid(self._recipe.height, self._recipe.width, len(heights)), _BLOCK)
        return Contents(len(heights), 4 * self._used, 4 * room, (first, second))

    def _put(self, pixels: NDArray[np.uint32], table: _Table) -> None:
        words, begin = self._words, self._used
        at = begin + len(table.words)
        self._used = at + pixels.size
        words[begin:at] = table.words
        words[at : self._used].reshape(pixels.shape)[...] = pixels.view(np.int32)
        each = _HEAD + _EACH * len(self._tables)
        words[each : each + _EACH] = table.head
        words[each], words[each + 4] = at, begin
        self._tables.append(table)


@dataclass(frozen=True)
class _Table:
    """What pictures of one size share.

    Attributes:
        part: their rows and columns that matter.
        scratch: height and width of what comes between the two passes.
        head: their description, where the places of pixels, scratch memory and tables are yet to be filled in.
        words: the tables.
    """

    part: tuple[slice, slice]
    scratch: tuple[int, int]
    head: Words
    words: Words


@functools.lru_cache(_KEPT)
def _placed(recipe: Recipe, height: int, width: int) -> _Table:
    return _table(height, width, recipe.step.place(height, width))


def _table(height: int, width: int, placing: Placing) -> _Table:
    top, left, high, wide = placing.window
    across, down = taps(width, placing.width, left, wide), taps(height, placing.height, top, high)
    lines, columns = _reach(down[0]), _reach(across[0])
    down_first = images.down_first(height, width, placing.height, placing.width)
    head = np.zeros(_EACH, np.int32)
    head[1:3] = columns.stop - columns.start, lines.stop - lines.start
    head[5:12] = wide, high, across[1].shape[1], down[1].shape[1], placing.top, placing.left, down_first
    parts = [across[0] - [columns.start, 0], across[1], down[0] - [lines.start, 0], down[1]]
    scratch = (high, int(head[1])) if down_first else (int(head[2]), wide)
    words = np.concatenate([part.ravel() for part in parts]).astype(np.int32)
    return _Table((lines, columns), scratch, head, words)


def _reach(spans: Words) -> slice:
    """From the first pixel that is used to the last."""
    return slice(int(spans[0, 0]), int(spans[-1].sum()))


def taps(size: int, whole: int, begin: int, count: int) -> tuple[Words, Words]:
    """Which pixels of a line make each pixel of the scaled line, and with what weights, as Pillow computes them.

    The filter is a triangle, as wide as a pixel of the coarser of both lines to either side.

    Args:
        size: pixels of the line.
        whole: pixels of the scaled line.
        begin: the first of these that is wanted.
        count: how many of these are wanted.

    Returns:
        [count, 2]: number of the first pixel, number of pixels. [count, most]: weights in parts of 2^22, then zeros.
    """
    scale = float(np.float32(size)) / whole
    reach = max(scale, 1.0)
    center = (np.arange(begin, begin + count) + 0.5) * scale
    first = np.maximum((center - reach + 0.5).astype(np.int64), 0)
    number = np.minimum((center + reach + 0.5).astype(np.int64), size) - first
    tap = np.arange(int(np.ceil(reach)) * 2 + 1)
    weight = 1.0 - np.abs((tap + first[:, None] - center[:, None] + 0.5) * (1.0 / reach))
    weight = np.where(tap < number[:, None], np.maximum(weight, 0.0), 0.0)
    weight /= weight.cumsum(axis=1)[:, -1:]  # summed one after the other
    return np.stack([first, number], axis=1).astype(np.int32), (0.5 + weight * _ONE).astype(np.int32)


def _grid(height: int, width: int, count: int) -> tuple[int, int, int]:
    return -(-width // _BLOCK[0]), -(-height // _BLOCK[1]), count

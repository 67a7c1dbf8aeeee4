"""Random chains over random kinds of images, against Pillow and NumPy used by hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.feeds import open_feed

MODES = {"RGB": "png", "L": "png", "RGBA": "png", "P": "png", "1": "png", "LA": "png", "I;16": "png", "CMYK": "jpg"}
Row = dict[str, dict[str, Any]]


class Unsuited(Exception):
    """The rows make no sense for this picture."""


def picture(path: Path, draw: random.Random) -> Path:
    """A picture of any mode and size, perhaps turned by its EXIF orientation."""
    mode = draw.choice(list(MODES))
    shape = draw.randrange(8, 60), draw.randrange(8, 60)
    rng = np.random.default_rng(draw.randrange(2**31))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, shape).astype(np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (*shape, 3)).astype(np.uint8)).convert(mode)
    exif = Image.Exif()
    if draw.random() < 0.3:
        exif[274] = draw.randrange(1, 9)
    path = path.with_suffix(f".{MODES[mode]}")
    image.save(path, exif=exif)
    return path


def decoded(path: Path) -> np.ndarray:
    from PIL import ImageOps

    with Image.open(path) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I"):
            turned = Image.fromarray((np.asarray(turned).astype(np.int64) >> 8).astype(np.uint8))
        return np.asarray(turned.convert("RGB"))


class Reference:
    """Rows done by hand, one after the other, on an array that always has the axes that it claims to have."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.order, self.layout = pixels, "rgb", "nhwc"

    @property
    def last(self) -> np.ndarray:
        return self.pixels if self.layout == "nhwc" else np.transpose(self.pixels, (1, 2, 0))

    def put(self, last: np.ndarray) -> None:
        self.pixels = last if self.layout == "nhwc" else np.transpose(last, (2, 0, 1))

    def scale(self, height: int, width: int) -> np.ndarray:
        if self.last.dtype != np.uint8:
            raise Unsuited
        one = self.last[..., 0] if self.last.shape[2] == 1 else self.last
        made = np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR))
        return made.reshape(height, width, -1)

    def resize(self, size: list[int], fit: str = "stretch") -> None:
        height, width = size
        if fit == "shorter":
            high, wide = self.last.shape[:2]
            height, width = (height, int(height * wide / high)) if high <= wide else (int(width * high / wide), width)
        self.put(self.scale(height, width))

    def crop(self, size: list[int]) -> None:
        top, left = (round((have - want) / 2) for have, want in zip(self.last.shape, size, strict=False))
        if min(top, left) < 0 or self.last.shape[0] < size[0] or self.last.shape[1] < size[1]:
            raise Unsuited
        self.put(self.last[top : top + size[0], left : left + size[1]])

    def letterbox(self, size: list[int], fill: Any) -> None:
        factor = min(size[0] / self.last.shape[0], size[1] / self.last.shape[1])
        height, width = (max(round(side * factor), 1) for side in self.last.shape[:2])
        inner, box = self.scale(height, width), np.empty((*size, self.last.shape[2]), np.uint8)
        if len(np.ravel(fill)) not in (1, box.shape[2]):
            raise Unsuited
        box[...] = fill
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        box[top : top + height, left : left + width] = inner
        self.put(box)

    def normalize(self, scale: float, mean: Any, std: Any) -> None:
        if any(len(np.ravel(values)) not in (1, self.last.shape[2]) for values in (mean, std)):
            raise Unsuited
        self.put(((self.last.astype(np.float64) * scale - mean) / std).astype(np.float32))

    def layout_(self, to: str) -> None:
        last = self.last
        self.layout = to
        self.put(last)

    def channels(self, to: str) -> None:
        last = self.last if self.order == "rgb" else self.last[..., ::-1]
        if to == "gray" and last.shape[2] == 3:
            if last.dtype == np.uint8:
                last = np.asarray(Image.fromarray(np.ascontiguousarray(last)).convert("L"))[..., None]
            else:
                last = (last.astype(np.float64) @ [0.299, 0.587, 0.114]).astype(last.dtype)[..., None]
        elif to != "gray" and last.shape[2] == 1:
            last = np.repeat(last, 3, axis=2)
        self.order = "bgr" if to == "bgr" else "rgb"
        self.put(last[..., ::-1] if to == "bgr" else last)


def rows(draw: random.Random) -> list[Row]:
    def size(low: int, high: int) -> list[int]:
        return [draw.randrange(low, high), draw.randrange(low, high)]

    def each(low: float, high: float, count: int) -> Any:
        numbers = [round(draw.uniform(low, high), 3) for _ in range(count)]
        return numbers if draw.random() < 0.5 else numbers[0]

    def one() -> Row:
        side = draw.randrange(10, 50)
        count = draw.choice([1, 3, 3, 3, 3, 4])
        return draw.choice(
            [
                {"resize": {"size": size(4, 50)}},
                {"resize": {"size": [side, side], "fit": "shorter"}},
                {"crop": {"size": size(4, 24)}},
                {"letterbox": {"size": size(8, 50), "fill": draw.choice([0, 114, [1, 20, 255]])}},
                {"normalize": {"scale": 1 / 255, "mean": each(-1, 1, count), "std": each(0.2, 2, count)}},
                {"layout": {"to": draw.choice(["nchw", "nhwc"])}},
                {"channels": {"to": draw.choice(["rgb", "bgr", "gray"])}},
            ]
        )

    return [one() for _ in range(draw.randrange(1, 6))]


def expected(path: Path, chain: list[Row]) -> np.ndarray:
    reference = Reference(decoded(path))
    for row in chain:
        ((name, options),) = row.items()
        getattr(reference, "layout_" if name == "layout" else name)(**options)
    return reference.pixels


def sample(path: Path, chain: list[Row], kind: str) -> np.ndarray:
    feed = open_feed(FeedSpec(path, preprocess=tuple(chain)), (TensorInfo("x", kind, ("n", "a", "b", "c")),))
    return next(feed.batches(1))["x"][0]


def compare(folder: Path, count: int, seed: int) -> int:
    draw, refused = random.Random(seed), 0
    for number in range(count):
        path, chain = picture(folder / f"p{number}", draw), rows(draw)
        try:
            wanted = expected(path, chain)
        except Unsuited:
            with pytest.raises(UsageError):
                next(
                    open_feed(
                        FeedSpec(path, preprocess=tuple(chain)), (TensorInfo("x", "float32", ("n", "a", "b", "c")),)
                    ).batches(1)
                )
            refused += 1
            continue
        kind = "float32" if wanted.dtype == np.float32 else "uint8"
        feed = open_feed(FeedSpec(path, preprocess=tuple(chain)), (TensorInfo("x", kind, ("n", "a", "b", "c")),))
        found = next(feed.batches(1))["x"][0]
        allowed = 4e-5 * (float(np.abs(wanted).max()) + 1) if kind == "float32" else 0.0
        assert found.shape == wanted.shape, chain
        assert np.abs(found.astype(np.float64) - wanted).max() <= allowed, chain
    return refused


def test_random_chains_are_what_they_say(tmp_path: Path) -> None:
    refused = compare(tmp_path, 300, 0)
    assert 20 < refused < 200

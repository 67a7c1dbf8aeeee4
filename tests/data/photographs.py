"""Image files of many sizes and kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_MODES = ("RGB", "RGB", "L", "RGBA", "CMYK", "RGB", "P")


def write(folder: Path, count: int, sides: tuple[int, int], damaged: int) -> Path:
    """Make a folder of them, of which one is cut short.

    Args:
        folder: to make; the files in it are called 000.jpg or .png and so on.
        count: how many.
        sides: least height or width, and what is just too much.
        damaged: number of a JPEG.
    """
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (*rng.integers(*sides, 2), 3), np.uint8)
        mode = _MODES[number % len(_MODES)]
        suffix = "jpg" if mode in ("RGB", "L", "CMYK") else "png"
        Image.fromarray(pixels).convert(mode).save(folder / f"{number:03}.{suffix}")
    path = folder / f"{damaged:03}.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    return folder

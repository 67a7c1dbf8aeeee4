"""Image files as arrays.

A picture is an image as the decoder holds it: scaled as it is, without being copied to an array before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trtconv.adapters import pillow

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Of files that are taken for images."""

Window = tuple[int, int, int, int]
"""Top, left, height, width."""

size = pillow.size
decode = pillow.decode
picture = pillow.picture
Canvas = pillow.Canvas
down_first = pillow.down_first
exactly = pillow.exactly
pixels = pillow.pixels


def array(image: Any) -> np.ndarray:
    """An array or a picture as an array [height, width, channels]."""
    return np.asarray(image)


def shape(image: Any) -> tuple[int, int, int]:
    """Of an array or a picture: height, width, channels."""
    return image.shape if isinstance(image, np.ndarray) else (image.height, image.width, len(image.getbands()))


def resized(image: Any, height: int, width: int, window: Window | None = None) -> np.ndarray:
    """An array of 8-bit values or a picture, bilinear and antialiased, as Pillow scales; or a part of the result.

    Pillow can compute a part alone, but rounds its weights and in between otherwise: up to two steps of 255.
    """
    top, left, rows, columns = window or (0, 0, height, width)
    return pillow.resize(image, height, width)[top : top + rows, left : left + columns]

"""Image files as arrays."""

from __future__ import annotations

import numpy as np

from trtconv.adapters import pillow

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Of files that are taken for images."""

size = pillow.size
decode = pillow.decode


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image [h, w, channels] of 8-bit values, bilinear and antialiased, as Pillow scales."""
    return pillow.resize(image, height, width)

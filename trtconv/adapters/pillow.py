"""The door to Pillow, which decodes and scales images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import magic
from trtconv.core.errors import MissingPackage, UsageError

_ORIENTATION, _TURNED = 274, 5  # EXIF tag; from 5 on width and height are exchanged


def size(path: Path) -> tuple[int, int]:
    """(height, width) of an image, from its header.

    Raises:
        UsageError: not an image.
        MissingPackage: Pillow is not installed.
    """
    with _open(path) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) >= _TURNED
        return (width, height) if turned else (height, width)


def picture(path: Path) -> Any:
    """An image as Pillow holds it: decoded, RGB, turned as its EXIF orientation says; no pixel is copied without need.

    Raises:
        UsageError: not an image, or damaged.
        MissingPackage: Pillow is not installed.
    """
    with _open(path) as image:
        try:
            if image.getexif().get(_ORIENTATION, 1) != 1:
                from PIL import ImageOps

                return ImageOps.exif_transpose(image).convert("RGB")
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow's decoders raise on damaged data
            raise UsageError(f"{path}: a damaged image: {error}", hint="remove or repair it") from None


def decode(path: Path) -> np.ndarray:
    """An image as uint8 [height, width, 3], red first, turned as its EXIF orientation says.

    Raises:
        UsageError: not an image, or damaged.
        MissingPackage: Pillow is not installed.
    """
    return np.asarray(picture(path))


def resize(image: Any, height: int, width: int, window: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Scale bilinearly, averaging where it shrinks.

    Args:
        image: uint8 [h, w, 1 or 3], or a picture.
        height: of the whole.
        width: of the whole.
        window: top, left, height and width of the part to compute; None: all.
    """
    gray = isinstance(image, np.ndarray) and image.shape[-1] == 1
    if isinstance(image, np.ndarray):
        image = _pillow().fromarray(image[..., 0] if gray else image)
    top, left, high, wide = window or (0, 0, height, width)
    down, across = image.height / height, image.width / width
    box = (left * across, top * down, min((left + wide) * across, image.width), min((top + high) * down, image.height))
    scaled = np.asarray(image.resize((wide, high), _pillow().Resampling.BILINEAR, box=box))
    return scaled[..., None] if gray else scaled


def _open(path: Path) -> Any:
    image_type = _pillow()
    try:
        return image_type.open(path)
    except (OSError, ValueError, image_type.DecompressionBombError) as error:
        why = magic.describe(path) if path.is_file() else str(error)
        raise UsageError(f"{path}: not an image that can be read; it looks like {why}",
                         hint="use png or jpg files") from None  # fmt: skip


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingPackage("pillow", "images", "reading images") from None
    return Image

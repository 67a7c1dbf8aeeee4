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


def decode(path: Path) -> np.ndarray:
    """An image as uint8 [height, width, 3], red first, turned as its EXIF orientation says.

    Raises:
        UsageError: not an image, or damaged.
        MissingPackage: Pillow is not installed.
    """
    from PIL import ImageOps

    with _open(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            return np.asarray((upright or image).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow's decoders raise on damaged data
            raise UsageError(f"{path}: a damaged image: {error}", hint="remove or repair it") from None


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale uint8 [h, w, 1 or 3] bilinearly, averaging where it shrinks."""
    image_type = _pillow()
    flat = image[..., 0] if image.shape[-1] == 1 else image
    scaled = np.asarray(image_type.fromarray(flat).resize((width, height), image_type.Resampling.BILINEAR))
    return scaled[..., None] if image.shape[-1] == 1 else scaled


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

"""The door to Pillow, which decodes and scales images."""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtconv.adapters import pillow_jpeg
from trtconv.core import magic
from trtconv.core.errors import MissingPackage, UsageError

_ORIENTATION, _TURNED = 274, 5  # EXIF tag; from 5 on width and height are exchanged
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # orientation -> Image.Transpose that undoes it
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders were seen to raise on damaged data."""
_PNG = b"\x89PNG\r\n\x1a\n"


def size(path: Path) -> tuple[int, int]:
    """(height, width) of an image, from its header.

    Raises:
        UsageError: not an image.
        MissingPackage: Pillow is not installed.
    """
    with _open(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= _TURNED else (height, width)


class Canvas:
    """Memory that pictures are decoded to, one after the other: a picture is good until the next one comes.

    Pillow takes fresh memory for each picture and fills it with zeros first; what is still in the processor's cache
    from the picture before is written faster.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint32)
        self._core: Any = None

    def spread(self, image: Any) -> None:
        """Have an image that is opened but not loaded decoded here, if that writes every pixel of it."""
        if image.format != "JPEG" or image.mode != "RGB":
            return
        size = image.width * image.height
        if len(self._memory) < size:
            self._memory = np.empty(size, np.uint32)
        # as Image.frombuffer does it, which does not take this mode
        self._core = _pillow().core.map_buffer(self._memory, image.size, "raw", 0, (image.mode, 0, 1))
        image.im = self._core

    def pixels(self, image: Any) -> NDArray[np.uint32] | None:
        """Of the last image, as the function ``pixels`` gives them; None if they are elsewhere."""
        if image.im is not self._core:
            return None
        return self._memory[: image.width * image.height].reshape(image.height, image.width)


_PIXELS = "_pixels_on_canvas"  # attribute of a picture


def picture(path: Path, wanted: Callable[[int, int], bool] | None = None, canvas: Canvas | None = None) -> Any:
    """An image as Pillow holds it: decoded, RGB, turned as its EXIF orientation says; no pixel is copied without need.

    Args:
        path: the file.
        wanted: whether to decode an image of this height and width, which may be exchanged; None is returned instead.
        canvas: where to decode it to.

    Raises:
        UsageError: not an image, or damaged.
        MissingPackage: Pillow is not installed.
    """
    with _open(path) as image:
        if wanted is not None and not wanted(image.height, image.width):
            return None
        try:
            if canvas is not None:
                canvas.spread(image)
            orientation = _orientation(image)
            pillow_jpeg.use(_pillow(), image)
            image.load()
            if orientation != 1:
                return _rgb(image.transpose(_TURNS[orientation]))
            setattr(image, _PIXELS, None if canvas is None else canvas.pixels(image))
            return _rgb(image)
        except _DAMAGED as error:
            raise UsageError(f"{path}: a damaged image: {error}", hint="remove or repair it") from None


def _orientation(image: Any) -> int:
    """EXIF orientation, 1 to 8; 1 where it says nothing that makes sense. No pixel is decoded for it."""
    try:
        if image.format == "PNG":
            exif = _pillow().Exif()
            exif.load(b"Exif\0\0" + _png_exif(image.fp))
        else:
            exif = image.getexif()
        found = exif.get(_ORIENTATION, 1)
    except _DAMAGED:
        return 1
    return found if type(found) is int and found in _TURNS else 1


def _png_exif(file: Any) -> bytes:
    """The eXIf chunk, which may come after the pixels; Pillow decodes them to get there."""
    begin = file.tell()
    try:
        file.seek(len(_PNG))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return bytes(file.read(length))
            file.seek(length + 4, 1)
    finally:
        file.seek(begin)
    return b""


def _rgb(image: Any) -> Any:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # gray of 16 bits, which Pillow would clip; of colors it takes the upper 8 itself
        image = _pillow().fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def decode(path: Path) -> np.ndarray:
    """An image as uint8 [height, width, 3], red first, turned as its EXIF orientation says.

    Raises:
        UsageError: not an image, or damaged.
        MissingPackage: Pillow is not installed.
    """
    return np.asarray(picture(path))


def resize(image: Any, height: int, width: int) -> np.ndarray:
    """Scale bilinearly, averaging where it shrinks.

    Args:
        image: uint8 [h, w, 1 or 3], or a picture.
        height: of the result.
        width: of the result.
    """
    gray = isinstance(image, np.ndarray) and image.shape[-1] == 1
    if isinstance(image, np.ndarray):
        image = _pillow().fromarray(image[..., 0] if gray else image)
    scaled = np.asarray(image.resize((width, height), _pillow().Resampling.BILINEAR))
    return scaled[..., None] if gray else scaled


def exactly(channel: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale as ``resize`` does, without rounding: float32 [height, width] of any two-dimensional array."""
    image = _pillow().fromarray(channel.astype(np.float32))
    return np.asarray(image.resize((width, height), _pillow().Resampling.BILINEAR))


def down_first(high: int, wide: int, rows: int, columns: int) -> bool:
    """Whether ``resize`` scales down first, then across: since Pillow 13, where the height loses over twice as much.

    The order matters, because values are rounded to 8 bits in between.

    Args:
        high: of the image.
        wide: of the image.
        rows: of the result.
        columns: likewise.
    """
    from PIL import __version__ as version

    return int(version.partition(".")[0]) >= 13 and high - rows > max(2 * (wide - columns), 0)


def pixels(image: Any) -> NDArray[np.uint32]:
    """An RGB picture or array as [height, width] of four bytes: red, green, blue, and one that means nothing.

    Pillow holds pictures so. It lets others see them as Arrow arrays since version 11.2, where they lie in one piece;
    else they are copied.
    """
    there: NDArray[np.uint32] | None = getattr(image, _PIXELS, None)
    if there is not None:
        return there
    try:
        _, capsule = image.__arrow_c_array__()
    except (AttributeError, ValueError):
        values = np.asarray(image)
        spread = np.zeros((*values.shape[:2], 4), np.uint8)
        spread[..., :3] = values
        return spread.view(np.uint32)[..., 0]
    array = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
    memory = (ctypes.c_uint32 * (image.width * image.height)).from_address(array.children[0].contents.buffers[1])
    memory.owner = capsule  # the pixels live as long as it
    return np.frombuffer(memory, np.uint32).reshape(image.height, image.width)


class _ArrowArray(ctypes.Structure):
    """``struct ArrowArray`` of the Arrow C data interface, up to what is read here."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _open(path: Path) -> Any:
    image_type = _pillow()
    try:
        return image_type.open(path)
    except image_type.DecompressionBombError:
        limit = 2 * image_type.MAX_IMAGE_PIXELS / 1e6
        raise UsageError(
            f"{path}: an image of more than {limit:.0f} megapixels, which Pillow does not open",
            hint="scale it down, or cut it into parts",
        ) from None
    except PermissionError:
        raise
    except _DAMAGED as error:
        why = magic.describe(path) if path.is_file() else str(error)
        raise UsageError(
            f"{path}: not an image that can be read; it looks like {why}", hint="use png or jpg files"
        ) from None


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingPackage("pillow", "images", "reading images") from None
    return Image

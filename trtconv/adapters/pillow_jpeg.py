"""A decoder for Pillow: its own for JPEG, with the line that it decodes to laid where that is fast.

libjpeg-turbo writes colors past the processor's caches if a line of the image begins at a multiple of 32 bytes
(``vmovntdq`` in its jdcolext-avx2.asm). Pillow has it write every line to the same memory and reads that back at once,
from main memory then. malloc gives multiples of 16: half of all photographs take 1.3 to 1.5 times as long as the other
half, by what happened to lie in memory before them (``benchmarks/pictures.py``).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

NAME = "trtconv_jpeg"
"""What Pillow knows it as."""

_SLOW = 32  # bytes: a line that begins at a multiple of them
_STEP = 16  # bytes, of which malloc gives multiples
_HEAD = 8  # bytes that the C library (glibc) has before each piece of memory
_PIXEL = 4  # bytes of a line
_TRIES = 16


def use(image_type: Any, image: Any) -> None:
    """Have an image that is opened, but not loaded, decoded by this if it is a JPEG.

    Args:
        image_type: the module ``PIL.Image``.
        image: of it.
    """
    if len(image.tile) == 1 and image.tile[0][0] == "jpeg" and hasattr(image_type.core, "jpeg_decoder"):
        image_type.register_decoder(NAME, lambda *args: Jpeg(image_type.core.jpeg_decoder(*args)))
        image.tile = [(NAME, *image.tile[0][1:])]


class Jpeg:
    """See ``PIL.ImageFile.PyDecoder``, whose form it has.

    Args:
        own: Pillow's decoder, which does everything but place the line.
    """

    def __init__(self, own: Any) -> None:
        self._own = own

    def setimage(self, image: Any, extents: tuple[int, int, int, int] | None = None) -> None:
        """Take an image to decode to; memory for a line is the first that this asks for."""
        with aside(_PIXEL * image.size[0]):
            self._own.setimage(image, extents)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


@contextlib.contextmanager
def aside(size: int) -> Iterator[None]:
    """Have the next memory of so many bytes begin at an odd multiple of 16, as far as the C library repeats itself."""
    held = []
    even = -(-(size + _HEAD) // _STEP) * _STEP % _SLOW == 0  # then a row of such pieces begins alike
    for _ in range(_TRIES):
        found = _calloc(1, size)
        if not found or found % _SLOW:
            _free(found)  # the next one of this size is there again
            break
        held.append(found)
        if even:
            held.append(_malloc(size + _STEP))
    try:
        yield
    finally:
        for address in held:
            _free(address)


_library = ctypes.CDLL(None)
_calloc, _malloc, _free = _library.calloc, _library.malloc, _library.free
_calloc.argtypes, _calloc.restype = (ctypes.c_size_t, ctypes.c_size_t), ctypes.c_void_p
_malloc.argtypes, _malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
_free.argtypes, _free.restype = (ctypes.c_void_p,), None

"""The kernels of scaling.cu again, in NumPy: what a GPU makes of a parcel, for machines without one."""

from __future__ import annotations

import numpy as np

HEAD, EACH = 16, 16


def first(words: np.ndarray, count: int) -> None:
    """Fill the scratch memory of so many pictures; words: int32, the parcel and its scratch memory."""
    for picture in pictures(words, count):
        pixels, columns, rows, scratch = picture[:4]
        source = channels(words[pixels : pixels + rows * columns].reshape(rows, columns))
        found = packed(scaled(words, picture, source, down=bool(picture[11])))
        words[scratch : scratch + found.size] = found.ravel()


def second(words: np.ndarray, samples: np.ndarray) -> None:
    """Make the samples; [pictures, ...] of the output's type."""
    height, width, planar, floats = words[:4]
    order, fill = words[4:7], words[7:10]
    factor, offset = words[10:HEAD].view(np.float32).reshape(2, 3)
    for sample, picture in zip(samples, pictures(words, len(samples)), strict=True):
        _, _, _, scratch, _, wide, high, _, _, top, left, down_first = picture[:12]
        shape = between(picture)
        source = channels(words[scratch : scratch + shape[0] * shape[1]].reshape(shape))
        image = np.broadcast_to(fill.astype(np.uint8), (height, width, 3)).copy()
        image[top : top + high, left : left + wide] = scaled(words, picture, source, down=not down_first)
        image = image[..., order]
        if floats:
            image = image.astype(np.float32) * factor - offset  # type: ignore[assignment]
        sample[...] = image.transpose(2, 0, 1) if planar else image


def between(picture: list[int]) -> tuple[int, int]:
    """Height and width of what comes between the two passes."""
    return (picture[6], picture[1]) if picture[11] else (picture[2], picture[5])


def scaled(words: np.ndarray, picture: list[int], source: np.ndarray, *, down: bool) -> np.ndarray:
    """One pass over [height, width, 3]."""
    tables, wide, high, room_across, room_down = picture[4:9]
    if down:
        tables += (2 + room_across) * wide
    count, room, axis = (high, room_down, 0) if down else (wide, room_across, 1)
    spans = words[tables : tables + 2 * count].reshape(count, 2)
    weights = words[tables + 2 * count :][: count * room].reshape(count, room)
    lines = [
        weighted(source.take(range(a, a + n), axis), w[:n], axis) for (a, n), w in zip(spans, weights, strict=True)
    ]
    return np.stack(lines, axis)


def pictures(words: np.ndarray, count: int) -> list[list[int]]:
    """Descriptions."""
    return words[HEAD:][: EACH * count].reshape(count, EACH).tolist()


def channels(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels).view(np.uint8).reshape(*pixels.shape, 4)[..., :3].astype(np.int32)


def packed(values: np.ndarray) -> np.ndarray:
    red, green, blue = (values[..., n].astype(np.int32) for n in range(3))
    return red | green << 8 | blue << 16


def weighted(values: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    total = (values * np.expand_dims(weights, [n for n in range(values.ndim) if n != axis])).sum(axis)
    return np.minimum((total + (1 << 21)) >> 22, 255)

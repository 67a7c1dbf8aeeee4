"""Formulas of Caffe's layers that tests and the source zoo share."""

from __future__ import annotations

from typing import Any

import numpy as np


def pooled_regions(x: Any, table: Any, cells: tuple[int, int], scale: float) -> Any:
    """The largest value of each cell of a region, 0 where a cell is empty (roi_pooling_layer.cpp of Fast R-CNN).

    Args:
        x: [images, channels, height, width].
        table: regions: image, x1, y1, x2, y2.
        cells: down and across.
        scale: from the regions' pixels to those of x.
    """
    found = np.zeros((len(table), x.shape[1], *cells), np.float32)
    for place, (image, *corners) in enumerate(table):
        left, top, right, bottom = (int(np.floor(corner * scale + 0.5)) for corner in corners)
        begin, size = (top, left), (max(bottom - top + 1, 1), max(right - left + 1, 1))
        for cell in np.ndindex(*cells):
            rows, columns = (
                slice(*_span(cell[axis], size[axis], cells[axis], begin[axis], x.shape[2 + axis])) for axis in range(2)
            )
            window = x[int(image), :, rows, columns]
            if window[0].size:
                found[(place, slice(None), *cell)] = window.max((1, 2))
    return found


def _span(cell: int, size: int, cells: int, begin: int, limit: int) -> tuple[int, int]:
    low, high = np.floor(cell * size / cells) + begin, np.ceil((cell + 1) * size / cells) + begin
    return int(np.clip(low, 0, limit)), int(np.clip(high, 0, limit))

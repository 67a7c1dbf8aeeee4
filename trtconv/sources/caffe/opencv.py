"""The door to OpenCV, which reads and runs Caffe networks up to version 4."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtconv.core import versions
from trtconv.core.errors import SourceError
from trtconv.core.extras import install_line
from trtconv.sources.caffe.formats import REFERENCES

_LAST = 4


def version() -> str:
    """Of the installed package; empty where there is none."""
    return next(iter(versions.of(REFERENCES).values()), "")


def problem() -> str:
    """Why OpenCV cannot be the reference; empty where it can."""
    if importlib.util.find_spec("cv2") is None:
        return f"OpenCV, which runs Caffe networks, is not installed ({install_line('caffe')})"
    installed = version()
    if installed and int(installed.split(".")[0]) > _LAST:
        return f"OpenCV {installed} no longer reads Caffe networks, versions below 5 do ({install_line('caffe')})"
    return ""


def forward(
    prototxt: str, weights: Path | None, feeds: Mapping[str, Any], wanted: Sequence[tuple[str, int]]
) -> list[Any]:
    """Run a network once.

    Args:
        prototxt: the network.
        weights: its caffemodel; None: it has none.
        feeds: arrays by input.
        wanted: layer, and which of its tops.

    Raises:
        SourceError: OpenCV cannot read or run it.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.prototxt"
        file.write_text(prototxt, encoding="utf-8")
        try:
            network = cv2.dnn.readNetFromCaffe(str(file), "" if weights is None else str(weights))
            for name, array in feeds.items():
                network.setInput(array, name)
            layers = list(dict.fromkeys(layer for layer, _ in wanted))
            made = dict(zip(layers, network.forwardAndRetrieve(layers), strict=True))
        except cv2.error as error:
            raise SourceError(
                f"OpenCV does not run this network: {' '.join(str(error).split())[:300]}",
                hint="convert.check: false does not compare",
            ) from None
    return [made[layer][place] for layer, place in wanted]

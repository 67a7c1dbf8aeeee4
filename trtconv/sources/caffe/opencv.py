"""The door to OpenCV, which reads and runs Caffe networks up to version 4, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import interpreter
from trtconv.core.events import ignore
from trtconv.core.interpreter import Guest, Needs

NEEDS = Needs("Caffe", {"cv2": "opencv-python-headless<5", "numpy": "numpy"}, extra="caffe")


class Session:
    """OpenCV in its process; a network stays open until another one is asked for.

    Args:
        python: interpreter that has it; None: trtconv's own.

    Raises:
        EnvironmentProblem: it is missing, or lacks OpenCV.
        MissingPackage: trtconv's own lacks it.
    """

    def __init__(self, python: Path | None) -> None:
        module = "trtconv.sources.caffe.opencv_guest"
        self._guest = Guest(interpreter.find(python, NEEDS), module, NEEDS, ignore)
        self._open = ""

    def version(self) -> str:
        """Of OpenCV."""
        return str(self._guest.call("version", {}))

    def run(
        self, prototxt: str, weights: Path | None, feeds: Mapping[str, Any], wanted: Sequence[tuple[str, int]]
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
        folder = self._guest.folder
        if prototxt != self._open:
            (folder / "net.prototxt").write_text(prototxt, encoding="utf-8")
            self._guest.call("read", {"prototxt": folder / "net.prototxt", "weights": weights and weights.absolute()})
            self._open = prototxt
        arrays: Any = {f"a{number}": array for number, array in enumerate(feeds.values())}
        np.savez(folder / "feeds.npz", **arrays)
        layers = list(dict.fromkeys(layer for layer, _ in wanted))
        request = {
            "feeds": folder / "feeds.npz",
            "names": list(feeds),
            "layers": layers,
            "outputs": folder / "outputs.npz",
        }
        counts = self._guest.call("forward", request)
        first = dict(zip(layers, np.cumsum([0, *counts]), strict=False))
        with np.load(folder / "outputs.npz") as stored:
            return [stored[f"a{first[layer] + place}"] for layer, place in wanted]

    def close(self) -> None:
        """End the process."""
        self._guest.close()

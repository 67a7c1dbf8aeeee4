"""A Caffe network run by OpenCV, and which of its outputs OpenCV computes as Caffe does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtconv.core.errors import SourceError, UsageError
from trtconv.core.records import SourceSpec, TensorInfo
from trtconv.sources.caffe import decided, importer, net, opencv, opencv_text
from trtconv.sources.caffe.importer import Imported
from trtconv.sources.caffe.net import Layer


@dataclass(frozen=True)
class Plan:
    """What OpenCV is asked for.

    Attributes:
        outputs: names of outputs that it computes as Caffe does.
        notes: sentences on the others.
        unchecked: why there is none.
    """

    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unchecked: str = ""


def plan(layers: Sequence[Layer], blobs: Mapping[str, str]) -> Plan:
    """Sort the outputs of a network.

    Args:
        layers: that the outputs need, in order.
        blobs: output -> blob.
    """
    doubts: dict[str, str] = {}
    for layer in layers:
        own = opencv_text.doubt(layer)
        inherited = next((doubts[bottom] for bottom in layer.bottoms if doubts.get(bottom)), "")
        reason = f"layer {layer.name!r} ({layer.type}), {own}" if own else inherited
        doubts.update(dict.fromkeys(layer.tops, reason))
    left = {name: doubts[blob] for name, blob in blobs.items() if doubts.get(blob)}
    kept = tuple(name for name in blobs if name not in left)
    notes = tuple(f"output {name!r} is not compared: OpenCV is no reference for {why}" for name, why in left.items())
    return Plan(kept, notes) if kept else Plan((), (), f"OpenCV is no reference for {next(iter(left.values()))}")


@dataclass(frozen=True)
class _Told:
    """What OpenCV is told of a network.

    Attributes:
        made: an outline of it.
        text: the prototxt.
        places: layer, and which of its tops, by blob.
        detectors: layers whose detections have to be decided.
    """

    made: Imported
    text: str
    places: Mapping[str, tuple[str, int]]
    detectors: Sequence[Layer]


class CaffeNetwork:
    """A network that OpenCV runs.

    Args:
        spec: prototxt and weights.
        outputs: blobs that are outputs; empty: those that no layer reads.
        decided: whether inputs are refused for which detections hang on the last digits of their scores.

    Attributes:
        inputs: name, dtype and shape of each; no shape where the prototxt says none.
        outputs: likewise, without shapes; only those that OpenCV computes as Caffe does.
    """

    def __init__(self, spec: SourceSpec, outputs: Sequence[str] = (), decided: bool = False) -> None:
        self.spec, self.wanted, self._decided = spec, tuple(outputs), decided
        network = net.read(spec.path)
        self._plan = plan(*importer.chosen(network, outputs))
        self.inputs = tuple(TensorInfo(one.name, "float", one.shape or ()) for one in network.inputs)
        self.outputs = tuple(TensorInfo(name, "float", ()) for name in self._plan.outputs)
        self._session = opencv.Session(spec.python)
        self._told: dict[Any, _Told] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch; those that OpenCV computes otherwise than Caffe are left out.

        Raises:
            SourceError: OpenCV cannot run it, or detections are not ``decided``.
            UsageError: none of the outputs is computed as Caffe does.
        """
        if self._plan.unchecked:
            raise UsageError(self._plan.unchecked, hint="choose other outputs: convert.outputs")
        told = self._told_for({name: tuple(array.shape) for name, array in feeds.items()})
        found = self._session.run(told.text, self.spec.weights, feeds, list(told.places.values()))
        arrays = {**feeds, **dict(zip(told.places, found, strict=True))}
        for layer in told.detectors:
            if decided.undecided(layer, *(arrays[name] for name in layer.bottoms)):
                raise SourceError(
                    f"the detections of layer {layer.name!r} change with the last digits of their scores",
                    hint=f"compare its bottoms: convert.outputs: [{', '.join(layer.bottoms)}]",
                )
        return {name: _shaped(arrays[told.made.blobs[name]], told.made, name) for name in self._plan.outputs}

    def _told_for(self, shapes: Mapping[str, tuple[int, ...]]) -> _Told:
        """What OpenCV is told for inputs of these shapes."""
        key = tuple(sorted(shapes.items()))
        if key not in self._told:
            made = importer.outline(net.read(self.spec.path, shapes), self.wanted)
            blobs = [made.blobs[name] for name in self._plan.outputs]
            detectors = [one for one in made.layers if one.type == "DetectionOutput" and set(one.tops) & set(blobs)]
            detectors = detectors if self._decided else []
            heads = [name for layer in detectors for name in layer.bottoms if name not in made.inputs]
            text, places = opencv_text.write(made, list(dict.fromkeys([*blobs, *heads])))
            self._told[key] = _Told(made, text, places, detectors)
        return self._told[key]

    def close(self) -> None:
        """End OpenCV's process."""
        self._session.close()

    def framework(self) -> str:
        """OpenCV and its version."""
        return f"OpenCV {self._session.version()}"


def _shaped(array: np.ndarray, made: Imported, name: str) -> np.ndarray:
    """An output with the shape that Caffe gives it: OpenCV has no scalars, and as many detections as it finds."""
    shape = [dim if isinstance(dim, int) else -1 for dim in made.outputs[name]]
    layer = next(layer for layer in reversed(made.layers) if made.blobs[name] in layer.tops)
    if layer.type == "DetectionOutput" and -1 not in shape:
        return _rows(array.reshape(-1, 7), shape)
    return array.reshape(shape) if -1 not in shape and array.size == np.prod(shape) else array


def _rows(found: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """As many rows per image as there may be, those without a detection filled with -1."""
    table = np.full(shape, -1, np.float32)
    for image in range(shape[0]):
        rows = found[(found[:, 0] == image) & (found[:, 1:].any(1)) & (found[:, 1] >= 0)]
        table[image, 0, : len(rows)] = rows[np.lexsort((-rows[:, 2], rows[:, 1]))]
    return table


def open_model(spec: SourceSpec, outputs: Sequence[str] = ()) -> CaffeNetwork:
    """The network, ready to run.

    Raises:
        SourceError: damaged or foreign files.
        EnvironmentProblem: the interpreter that the source names is missing, or lacks OpenCV.
        MissingPackage: OpenCV is not installed.
    """
    return CaffeNetwork(spec, outputs or spec.outputs)

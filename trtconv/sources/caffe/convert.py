"""A Caffe network becomes the ONNX model that is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.names import choice
from trtconv.core.records import Dim
from trtconv.graph import check, clean, reshape
from trtconv.sources.caffe import importer, net, reference
from trtconv.sources.caffe.formats import companion, without_opencv
from trtconv.sources.caffe.weights import Weights
from trtconv.sources.records import Converted, Wanted


def convert(wanted: Wanted, emit: Emit) -> Converted:
    """The network for inference, with the shapes and outputs that are wanted.

    Raises:
        SourceError: damaged files, or weights of another network.
        ConversionError: a layer that is not known, or cannot be expressed.
        UsageError: no weights, an input without a shape, or one that the network does not have.
    """
    path, weights = wanted.source.path, wanted.source.weights
    shapes = _shapes(wanted)
    network = net.read(path, shapes)
    _require_inputs(network, [spec.name for spec in wanted.inputs])
    _require_weights(path, weights, network, wanted.outputs)
    opened = None if weights is None else Weights(weights)
    emit(Message(f"converting {len(network.layers)} Caffe layers"))
    for text in _fixed_batches(network, shapes):
        emit(Message(text))
    made = importer.to_onnx(network, opened, wanted.outputs, wanted.opset)
    for note in made.notes:
        emit(Message(note, "warning"))
    check.require_onnx(made.model)
    clean.prepare(made.model)
    reshape.remember_names(made.model, made.blobs)
    plan = reference.plan(made.layers, made.blobs)
    for note in plan.notes:
        emit(Message(note, "warning"))
    running = _Running(wanted)
    return Converted(
        made.model,
        running.source,
        unchecked=plan.unchecked or without_opencv(wanted.source),
        nodes={layer.name: layer.type for layer in made.layers},
        nodes_of="Caffe",
        done=running.close,
    )


class _Running:
    """The network in OpenCV, opened when it is asked for."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._network: reference.CaffeNetwork | None = None

    def source(self) -> reference.CaffeNetwork:
        """The network."""
        if self._network is None:
            self._network = reference.CaffeNetwork(self._wanted.source, self._wanted.outputs, decided=True)
        return self._network

    def close(self) -> None:
        """End its process, and let its memory go."""
        if self._network is not None:
            self._network.close()


def _fixed_batches(network: net.Net, given: Mapping[str, object]) -> Iterator[str]:
    for one in network.inputs:
        if one.name not in given and one.shape and len(one.shape) == 4:
            shape = ", ".join(["batch", *map(str, one.shape[1:])])
            yield (
                f"input {one.name!r} has the batch {one.shape[0]} of its prototxt; "
                f"inputs: {{{one.name}: {{shape: [{shape}]}}}} makes it dynamic"
            )


def _shapes(wanted: Wanted) -> dict[str, tuple[Dim, ...]]:
    if wanted.first:
        raise UsageError(
            f"inputs.{min(wanted.first)}.layout: nchw is for sources with channels last, Caffe has them first",
            hint="leave layout out",
        )
    return {spec.name: spec.shape for spec in wanted.inputs if spec.shape is not None}


def _require_inputs(network: net.Net, asked: list[str]) -> None:
    known = [one.name for one in network.inputs]
    for name in asked:
        if name not in known:
            raise UsageError(
                f"inputs: the network has no input {name!r}; it has {', '.join(known)}", hint=choice(name, known)
            )


def _require_weights(path: Path, weights: Path | None, network: net.Net, outputs: tuple[str, ...]) -> None:
    """Fail early and with a name where a network is given without its weights."""
    if weights is not None or not importer.trained(network, outputs):
        return
    beside = companion(path, ".caffemodel")
    found = f"; {beside.name} lies beside it" if beside else ""
    file = beside or path.with_name("net.caffemodel")
    raise UsageError(
        f"{path}: a prototxt holds no weights, and no caffemodel is given{found}",
        hint=f"--weights {file}; in a job, source: {{path: {path.name}, weights: {file.name}}}",
    )

"""A Caffe network becomes FP32 ONNX: layer after layer, each by the function that ``layers.TABLE`` has for its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtconv.core.errors import ConversionError, SourceError, UsageError
from trtconv.core.names import choice, nearest
from trtconv.core.records import Dim, TensorInfo
from trtconv.graph.building import Builder, Shape
from trtconv.sources.caffe import layers
from trtconv.sources.caffe.context import Findings, LayerContext
from trtconv.sources.caffe.net import Layer, Net, NetInput, needed
from trtconv.sources.caffe.weights import Blob, Weights

_SHOWN = 6
"""So many layers or arrays are listed in a message."""


@dataclass(frozen=True)
class Imported:
    """What became of a network.

    Attributes:
        model: FP32 ONNX; tensors are called after their blobs, nodes after their layers. None in an outline.
        blobs: output -> blob of the network.
        layers: those that it was made of.
        inputs: shapes.
        outputs: shapes.
        shapes: of the bottoms of each layer.
        arrays: shapes of the trained arrays of each layer.
        notes: what a user should know.
    """

    model: Any
    blobs: Mapping[str, str]
    layers: tuple[Layer, ...]
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    shapes: Mapping[str, list[Shape]]
    arrays: Mapping[str, list[tuple[int, ...]]]
    notes: tuple[str, ...]


def to_onnx(net: Net, weights: Weights | None, outputs: Sequence[str] = (), opset: int = 17) -> Imported:
    """Convert a network.

    Args:
        net: for inference.
        weights: None for a network without any.
        outputs: blobs that become outputs; layers that none of them needs are not looked at. Empty: those that no layer
            reads.
        opset: ONNX opset.

    Raises:
        ConversionError: a layer that is not known, or cannot be expressed.
        SourceError: weights of another network.
        UsageError: no weights, a blob that does not exist, or an input without a shape.
    """
    wanted = _wanted(net, outputs)
    chosen = needed(net.layers, wanted)
    _require_known(chosen)
    work = _Import(Builder(opset), chosen, _blobs(chosen, weights), Findings())
    return work.all(net, wanted, weights)


def outline(net: Net, outputs: Sequence[str] = (), opset: int = 17) -> Imported:
    """The same without weights and without a model: shapes, and what stands in the way."""
    wanted = _wanted(net, outputs)
    chosen = needed(net.layers, wanted)
    _require_known(chosen)
    return _Import(Builder(opset, weights=False), chosen, None, Findings()).all(net, wanted, None)


def chosen(net: Net, outputs: Sequence[str] = ()) -> tuple[list[Layer], dict[str, str]]:
    """The layers that outputs need, and the blob of each output; an output is called like its blob, or ``BLOB_out``."""
    wanted, given = _wanted(net, outputs), {one.name for one in net.inputs}
    return needed(net.layers, wanted), {f"{blob}_out" if blob in given else blob: blob for blob in wanted}


def trained(net: Net, outputs: Sequence[str] = ()) -> bool:
    """Whether what these outputs need has weights."""
    chosen = needed(net.layers, _wanted(net, outputs))
    return any(layer.type in layers.TRAINED and not _without(layer) for layer in chosen)


def _listed(items: Sequence[str], joint: str = ", ") -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return joint.join(items[:_SHOWN]) + more


def _wanted(net: Net, outputs: Sequence[str]) -> list[str]:
    made = dict.fromkeys(top for layer in net.layers for top in layer.tops)
    for name in outputs:
        if name not in made:
            raise UsageError(
                f"outputs: the network makes no blob {name!r}; its outputs are {', '.join(net.outputs)}",
                hint=choice(name, made),
            )
    return list(dict.fromkeys(outputs or net.outputs))


def _require_known(chosen: Sequence[Layer]) -> None:
    """Fail on the first layer that cannot be converted; all types are named.

    Raises:
        ConversionError: with the blobs that the network can be cut at.
    """
    unknown = [layer for layer in chosen if layer.type not in layers.TABLE]
    if not unknown:
        return
    first = unknown[0]
    reason = layers.REFUSED.get(first.type, "is a type that is not known; it may be of a fork")
    others = sorted({layer.type for layer in unknown} - {first.type})
    also = f"; the same holds for {', '.join(others)}" if others else ""
    near = nearest(first.type, layers.TABLE)
    guess = f"if {near[0]} is meant, write that; else " if near and first.type not in layers.REFUSED else ""
    cut = _before(first, chosen)
    raise ConversionError(f"layer {first.name!r} has the type {first.type}: {reason}{also}", hint=f"{guess}{cut}")


def _before(layer: Layer, chosen: Sequence[Layer]) -> str:
    made = {top for other in chosen for top in other.tops}
    ends = [name for name in dict.fromkeys(layer.bottoms) if name in made]
    if not ends:
        return "convert the part of the network behind it: write what it makes as an input"
    return f"end the network before it: convert.outputs: [{', '.join(ends)}] (--output-name {ends[0]})"


def _blobs(chosen: Sequence[Layer], weights: Weights | None) -> Mapping[str, Sequence[Blob]]:
    """The arrays of every layer; of layers that share their parameters, one may have them for all.

    Raises:
        UsageError: no weights.
        SourceError: layers without their weights.
    """
    trained = [layer for layer in chosen if layer.type in layers.TRAINED]
    found = {layer.name: weights.layers.get(layer.name, ()) if weights else () for layer in trained}
    owners = {layer.shared: found[layer.name] for layer in trained if found[layer.name] and any(layer.shared)}
    for layer in trained:
        if not found[layer.name] and any(layer.shared):
            found[layer.name] = owners.get(layer.shared, ())
    missing = [layer for layer in trained if not found[layer.name] and not _without(layer)]
    if missing and weights is None:
        raise UsageError(
            f"{len(missing)} layers have weights, and no file of weights is given",
            hint="weights: net.caffemodel in the job's source, or --weights net.caffemodel",
        )
    if missing:
        named = [f"{layer.name!r} ({layer.type})" for layer in missing]
        near = nearest(missing[0].name, [name for name, blobs in weights.layers.items() if blobs]) if weights else []
        raise SourceError(
            f"{weights.path if weights else ''} has no weights for {_listed(named)}",
            hint="give the caffemodel that was trained with this prototxt"
            + (f"; it has a layer {near[0]!r}" if near else ""),
        )
    return found


def _without(layer: Layer) -> bool:
    """Whether a layer of a type that is trained has no arrays: its factors come from a blob, or from a filler."""
    if layer.type in ("Scale", "Bias"):
        return len(layer.bottoms) > 1 and not layer.message.message("scale_param").flag("bias_term", False)
    filler = layer.message.message("convolution_param").message("weight_filler").text("type")
    return layer.type == "Deconvolution" and filler == "bilinear"


def _used(inputs: Iterable[NetInput], chosen: Sequence[Layer], wanted: Iterable[str]) -> list[NetInput]:
    read = {name for layer in chosen for name in layer.bottoms} | set(wanted)
    return [one for one in inputs if one.name in read]


@dataclass
class _Import:
    """An import under way.

    Attributes:
        b: the graph.
        layers: to convert, in order.
        blobs: arrays by layer; None for an outline.
        findings: what is told at the end.
    """

    b: Builder
    layers: Sequence[Layer]
    blobs: Mapping[str, Sequence[Blob]] | None
    findings: Findings

    def __post_init__(self) -> None:
        self.tensors: dict[str, str] = {}
        self.given: dict[str, Shape] = {}
        self.shapes: dict[str, list[Shape]] = {}
        self.last = {top: place for place, layer in enumerate(self.layers) for top in layer.tops}

    def all(self, net: Net, wanted: Sequence[str], weights: Weights | None) -> Imported:
        """Inputs, layers, outputs."""
        for given in _used(net.inputs, self.layers, wanted):
            self.take(given)
        for place in range(len(self.layers)):
            self.convert(place)
            if weights is not None:
                weights.release()
        if self.findings.misfits:
            raise SourceError(
                f"the weights are of another network: {_listed(self.findings.misfits, '; ')}",
                hint="give the caffemodel that was trained with this prototxt",
            )
        names = {self.output(blob): blob for blob in wanted}
        shapes = {name: self.b.shape(name) for name in names}
        notes = (*net.notes, *self.findings.notes)
        model = None if self.blobs is None else self.b.model(names, net.name)
        arrays = self.findings.arrays
        return Imported(model, names, tuple(self.layers), self.given, shapes, self.shapes, arrays, notes)

    def take(self, given: NetInput) -> None:
        """Declare an input."""
        if given.shape is None:
            where = f"of layer {given.layer!r} " if given.layer else ""
            raise UsageError(
                f"input {given.name!r} {where}has no shape in the prototxt",
                hint=f"inputs: {{{given.name}: {{shape: [batch, 3, 224, 224]}}}} in the job, or --input "
                f"{given.name}:batch,3,224,224, with its own sizes",
            )
        shape = tuple(_named(given.name, axis, dim) for axis, dim in enumerate(given.shape))
        self.tensors[given.name] = self.b.input(TensorInfo(given.name, "float", shape))
        self.given[given.name] = shape

    def convert(self, place: int) -> None:
        """Add the nodes of a layer: the last layer that makes a blob gives the tensor that blob's name."""
        layer = self.layers[place]
        names = [
            top if self.last[top] == place and top not in self.given else f"{top}/{layer.name}" for top in layer.tops
        ]
        tensors = [self.tensors[bottom] for bottom in layer.bottoms]
        at = LayerContext(
            self.b, layer, tensors, names, None if self.blobs is None else self.blobs.get(layer.name, ()), self.findings
        )
        self.shapes[layer.name] = list(map(self.b.shape, tensors))
        made = layers.TABLE[layer.type](at)
        made = [made] if isinstance(made, str) else made
        if len(made) != len(layer.tops):
            raise at.refusal(f"has {len(layer.tops)} tops, and only {len(made)} are known", _before(layer, self.layers))
        self.tensors.update(zip(layer.tops, made, strict=True))

    def output(self, blob: str) -> str:
        """The output of a blob, which has its name, or that with ``_out`` where an input has it."""
        tensor, name = self.tensors[blob], f"{blob}_out" if blob in self.given else blob
        return tensor if tensor == name else self.b.add("Identity", [tensor], name)


def _named(name: str, axis: int, dim: Dim) -> Dim:
    """A name for what is dynamic."""
    dynamic = isinstance(dim, int) and dim < 0
    return dim if not dynamic else "batch" if axis == 0 else f"{name}_dim{axis}"

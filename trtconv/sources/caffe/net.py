"""A network as Caffe builds it for inference: phases, inputs, in-place layers and outputs.

The rules are those of Caffe's Net::FilterNet, Net::AppendTop and Net::AppendBottom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from trtconv.core.errors import SourceError
from trtconv.core.names import did_you_mean
from trtconv.core.records import Dim
from trtconv.sources.caffe import text, upgrade
from trtconv.sources.caffe.text import Message

DATA = ("Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData", "AnnotatedData")
"""Layers that read samples: their tops become inputs."""

LOSSES = (
    "SoftmaxWithLoss",
    "Accuracy",
    "EuclideanLoss",
    "SigmoidCrossEntropyLoss",
    "ContrastiveLoss",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "SmoothL1Loss",
    "MultiBoxLoss",
    "DetectionEvaluate",
    "HDF5Output",
    "CenterLoss",
    "TripletLoss",
)
"""Layers for training and testing: they are left out."""


Shapes = list[tuple[Dim, ...] | None]
"""One per blob; None where it is not known."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: of the layer.
        type: as Caffe registers it.
        bottoms: blobs that it reads.
        tops: blobs that it makes.
        message: all that the prototxt says of it.
        shared: names of its parameters, which layers share that give them the same name.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Message
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetInput:
    """A blob that is given.

    Attributes:
        name: of the blob.
        shape: None where the prototxt does not say it.
        layer: the layer that names it; empty: the network's own ``input``.
        wanted: whether it is one by itself; else only where a shape is given, such as a label.
    """

    name: str
    shape: tuple[Dim, ...] | None
    layer: str = ""
    wanted: bool = True


@dataclass(frozen=True)
class Net:
    """A network for inference.

    Attributes:
        name: of the network; may be empty.
        inputs: blobs that are given.
        layers: in order, without inputs, losses and what depends on blobs that nobody gives.
        outputs: blobs that no layer reads.
        notes: what was left out or is done differently, in sentences.
    """

    name: str
    inputs: tuple[NetInput, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read(path: Path, shapes: Mapping[str, tuple[Dim, ...]] | None = None) -> Net:
    """The network of a prototxt.

    Args:
        path: the file.
        shapes: of inputs, where they differ from the file or it has none.

    Raises:
        SourceError: damaged or foreign; layers that do not fit together.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file", hint="check source.path")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(
            f"{path}: no text in UTF-8", hint="give the .prototxt; the .caffemodel is its weights"
        ) from None
    message = text.parse(content)
    if not any(key in message for key in ("layer", "layers", "input")):
        raise SourceError(f"{path}: no network: it has no layers", hint=_other_kind(message))
    return build(message, shapes or {})


def _other_kind(message: Message) -> str:
    if "net" in message or "train_net" in message:
        named = message.text("net") or message.text("train_net")
        return f"this is a solver; the network is in {named!r}"
    return "give the .prototxt of a network"


def build(message: Message, shapes: Mapping[str, tuple[Dim, ...]]) -> Net:
    """The network of a parsed prototxt.

    Raises:
        SourceError: layers that do not fit together.
    """
    found = [_layer(one) for one in upgrade.layers(message) if _runs(one)]
    inputs = [*_declared(message), *(one for layer in found for one in _fed(layer))]
    inputs = [replace(one, shape=shapes.get(one.name, one.shape)) for one in inputs]
    given = [one for one in inputs if one.wanted or one.name in shapes]
    work = _Walk(dict.fromkeys(one.name for one in given), {one.name for one in inputs} - {one.name for one in given})
    kept = [layer for layer in found if layer.type not in (*DATA, "Input") and work.takes(layer)]
    outputs = work.outputs()
    if not outputs:
        raise SourceError("the network has no outputs", hint="it needs a layer whose result nothing reads")
    return Net(message.text("name"), tuple(given), tuple(kept), outputs, tuple(work.notes))


def _layer(message: Message) -> Layer:
    shared = tuple(one.text("name") for one in message.messages("param"))
    name, kind = message.text("name"), message.text("type")
    if not kind:
        raise SourceError(f"line {message.line}: layer {name!r} has no type", hint="correct the prototxt")
    tops, bottoms = tuple(message.texts("top")), tuple(message.texts("bottom"))
    return Layer(name or (tops[0] if tops else kind), kind, bottoms, tops, message, shared)


def _runs(layer: Message) -> bool:
    """Whether a layer is part of the network in the phase TEST, at level 0 and in no stage."""
    include, exclude = layer.messages("include"), layer.messages("exclude")
    if include and exclude:
        raise SourceError(
            f"line {layer.line}: layer {layer.text('name')!r} has include and exclude rules", hint="keep one kind"
        )
    return any(map(_fits, include)) if include else not any(map(_fits, exclude))


def _fits(rule: Message) -> bool:
    if "phase" in rule and rule.choice("phase", ("TRAIN", "TEST")) != "TEST":
        return False
    return rule.integer("min_level", 0) <= 0 <= rule.integer("max_level", 0) and not rule.texts("stage")


def _declared(message: Message) -> list[NetInput]:
    """The network's own ``input`` with ``input_shape``, or four ``input_dim`` each."""
    names, dims = message.texts("input"), message.integers("input_dim")
    shaped: Shapes = [tuple(one.integers("dim")) for one in message.messages("input_shape")]
    if names and not shaped and len(dims) == 4 * len(names):
        shaped = [tuple(dims[4 * place : 4 * place + 4]) for place in range(len(names))]
    if (shaped or dims) and len(shaped) != len(names):
        raise SourceError(
            f"{len(names)} inputs, and shapes that are not as many",
            hint="give one input_shape per input, or four input_dim each",
        )
    return [NetInput(name, shape) for name, shape in zip(names, shaped or [None] * len(names), strict=True)]


def _fed(layer: Layer) -> list[NetInput]:
    """What a layer that reads samples gives."""
    if layer.type == "Input":
        known = _shapes(layer.message.message("input_param").messages("shape"), len(layer.tops))
        return [NetInput(top, shape, layer.name) for top, shape in zip(layer.tops, known, strict=True)]
    if layer.type not in DATA:
        return []
    known = _sampled(layer)
    return [
        NetInput(top, shape, layer.name, wanted=place == 0 or layer.type == "DummyData")
        for place, (top, shape) in enumerate(zip(layer.tops, known, strict=True))
    ]


def _shapes(messages: list[Message], count: int) -> Shapes:
    """One shape for each top, or one for all."""
    found: Shapes = [tuple(one.integers("dim")) for one in messages]
    if len(found) == 1:
        found *= count
    return found if len(found) == count else [None] * count


def _sampled(layer: Layer) -> Shapes:
    """Shapes of a data layer's tops, where its parameters say them."""
    count = len(layer.tops)
    if layer.type == "MemoryData":
        given = layer.message.message("memory_data_param")
        names = ("batch_size", "channels", "height", "width")
        first: Shapes = (
            [tuple(given.integer(name, 0) for name in names)] if all(map(given.__contains__, names)) else [None]
        )
        return (first + [None] * count)[:count]
    if layer.type == "DummyData":
        given = layer.message.message("dummy_data_param")
        if "shape" in given:
            return _shapes(given.messages("shape"), count)
        dims = [given.integers(name) for name in ("num", "channels", "height", "width")]
        if all(dims):
            return [tuple(sizes[min(place, len(sizes) - 1)] for sizes in dims) for place in range(count)]
    return [None] * count


@dataclass
class _Walk:
    """Which blobs there are while layers are visited.

    Attributes:
        blobs: name -> whether a layer has read it since it was last made; None for inputs.
        absent: blobs that only training has, and those made of them.
        notes: sentences on what was left out.
    """

    blobs: dict[str, bool | None]
    absent: set[str]
    notes: list[str] = field(default_factory=list)

    def takes(self, layer: Layer) -> bool:
        """Whether a layer is part of the network; what it reads counts as read."""
        if layer.type in LOSSES:
            self.absent.update(set(layer.tops) - self.blobs.keys())
            return False
        missing = [name for name in layer.bottoms if name in self.absent and name not in self.blobs]
        if missing:
            self.absent.update(set(layer.tops) - self.blobs.keys())
            self.notes.append(
                f"layer {layer.name!r} ({layer.type}) is left out: it reads {missing[0]!r}, which only "
                "training has; a shape in inputs makes that an input"
            )
            return False
        for name in layer.bottoms:
            self._read(layer, name)
        for name in layer.tops:
            if name in self.blobs and name not in layer.bottoms:
                raise SourceError(
                    f"layer {layer.name!r} ({layer.type}) makes the blob {name!r}, which is made already",
                    hint="give one of them another top, or a phase that sets them apart",
                )
            self.blobs[name] = False
        return layer.type != "Silence"

    def _read(self, layer: Layer, name: str) -> None:
        if name not in self.blobs:
            raise SourceError(
                f"layer {layer.name!r} ({layer.type}) reads {name!r}, which nothing before it makes",
                hint=did_you_mean(name, self.blobs) or "correct its bottom",
            )
        self.blobs[name] = True if self.blobs[name] is not None else None

    def outputs(self) -> tuple[str, ...]:
        """Blobs that nothing has read, in the order in which they were first made."""
        return tuple(name for name, read in self.blobs.items() if read is False)


def needed(layers: Iterable[Layer], outputs: Iterable[str]) -> list[Layer]:
    """The layers that some blobs are made by."""
    wanted, kept = set(outputs), []
    for layer in reversed(list(layers)):
        if wanted & set(layer.tops):
            wanted.update(layer.bottoms)
            kept.append(layer)
    return kept[::-1]

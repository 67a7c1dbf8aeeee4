"""Networks of Caffe's first two formats, brought to the third (caffe.proto: V0LayerParameter, V1LayerParameter).

Each keeps the names of its parameters; only the places differ: V0 has them flat in a message inside the layer, V1 names
types by an enum, and what V0 calls a padding layer is the ``pad`` of the layer behind it.
"""

from __future__ import annotations

from collections.abc import Mapping

from trtconv.core.errors import SourceError
from trtconv.sources.caffe.text import Message

V1_TYPES: tuple[str, ...] = (
    "",
    "Accuracy",
    "BNLL",
    "Concat",
    "Convolution",
    "Data",
    "Dropout",
    "EuclideanLoss",
    "Flatten",
    "HDF5Data",
    "HDF5Output",
    "Im2col",
    "ImageData",
    "InfogainLoss",
    "InnerProduct",
    "LRN",
    "MultinomialLogisticLoss",
    "Pooling",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxWithLoss",
    "Split",
    "TanH",
    "WindowData",
    "Eltwise",
    "Power",
    "SigmoidCrossEntropyLoss",
    "HingeLoss",
    "MemoryData",
    "ArgMax",
    "Threshold",
    "DummyData",
    "Slice",
    "MVN",
    "AbsVal",
    "Silence",
    "ContrastiveLoss",
    "Exp",
    "Deconvolution",
)
"""By the enum's number."""

_V1_WORDS = {"SOFTMAX_LOSS": "SoftmaxWithLoss", "NONE": ""}

_V0_TYPES: Mapping[str, str] = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "padding": "padding",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}

_V0_PARAMETERS: Mapping[str, tuple[str, str]] = {
    "Convolution": ("convolution_param", "num_output biasterm pad kernelsize group stride"),
    "Im2col": ("convolution_param", "pad kernelsize stride"),
    "InnerProduct": ("inner_product_param", "num_output biasterm"),
    "Pooling": ("pooling_param", "pad kernelsize stride pool"),
    "LRN": ("lrn_param", "local_size alpha beta k"),
    "Concat": ("concat_param", "concat_dim"),
    "Dropout": ("dropout_param", "dropout_ratio"),
}
_V0_NAMES = {"biasterm": "bias_term", "kernelsize": "kernel_size"}


def layers(net: Message) -> list[Message]:
    """The layers of a network in the newest form.

    Raises:
        SourceError: a type that the format does not have, or layers of two formats in one file.
    """
    old, new = net.messages("layers"), net.messages("layer")
    if old and new:
        raise SourceError(
            f"line {old[0].line}: 'layers' beside 'layer': the file mixes two formats",
            hint="write all of them as 'layer'",
        )
    if any("layer" in one for one in old):
        return _without_padding([_from_v0(one) for one in old])
    return [_from_v1(one) for one in old] or new


def _from_v1(layer: Message) -> Message:
    values = {key: list(given) for key, given in layer.values.items() if key not in ("type", "param")}
    given = layer.values.get("type", [""])[-1]
    values["type"] = [V1_TYPES[given] if isinstance(given, int) and given < len(V1_TYPES) else _word(layer, given)]
    shared = [Message(layer.line, {"name": [name]}) for name in layer.texts("param")]
    if shared:
        values["param"] = list(shared)
    return Message(layer.line, values)


def _word(layer: Message, given: object) -> str:
    word = str(given)
    found = {name.upper(): name for name in V1_TYPES}.get(word.replace("_", ""), _V1_WORDS.get(word))
    return _fork_word(layer, word) if found is None else found


def _fork_word(layer: Message, word: str) -> str:
    """Forks added words to the enum; PRELU and the like have one spelling only in the newer format."""
    known = {
        name.upper(): name
        for name in (
            "PReLU",
            "BatchNorm",
            "Scale",
            "Permute",
            "Normalize",
            "Interp",
            "Crop",
            "ROIPooling",
            "ELU",
            "Reshape",
            "BN",
            "ReLU6",
        )
    }
    if word.replace("_", "") not in known:
        raise SourceError(
            f"line {layer.line}: layer {layer.text('name')!r} has the type {word}, which Caffe's "
            "second format does not have",
            hint="write it as 'layer' with its type's name",
        )
    return known[word.replace("_", "")]


def _from_v0(connection: Message) -> Message:
    inner = connection.message("layer")
    kind = _V0_TYPES.get(inner.text("type"))
    if kind is None:
        raise SourceError(
            f"line {inner.line}: layer {inner.text('name')!r} has the type {inner.text('type')!r}, which Caffe's first "
            "format does not have",
            hint="write it as 'layer' with its type's name",
        )
    layer = Message(connection.line, {"name": [inner.text("name")], "type": [kind]})
    for key in ("bottom", "top", "include", "exclude"):
        layer.add(key, *connection.values.get(key, ()))
    if kind == "padding":
        layer.add("pad", inner.integer("pad", 0))
    place, names = _V0_PARAMETERS.get(kind, ("", ""))
    given = {_V0_NAMES.get(name, name): inner.values[name] for name in names.split() if name in inner}
    if place:
        layer.add(place, Message(inner.line, dict(given)))
    return layer


def _without_padding(found: list[Message]) -> list[Message]:
    """Fold padding layers into what reads them."""
    pads = {layer.text("top"): layer for layer in found if layer.text("type") == "padding"}
    kept = []
    for layer in found:
        if layer.text("type") == "padding":
            continue
        for position, bottom in enumerate(layer.texts("bottom")):
            if bottom in pads:
                layer.values["bottom"][position] = pads[bottom].text("bottom")
                _pad(layer, pads[bottom].integer("pad", 0))
        kept.append(layer)
    return kept


def _pad(layer: Message, size: int) -> None:
    place = _V0_PARAMETERS.get(layer.text("type"), ("", ""))[0]
    if place not in ("convolution_param", "pooling_param"):
        raise SourceError(
            f"line {layer.line}: layer {layer.text('name')!r} ({layer.text('type')}) reads a padding layer",
            hint="only convolution and pooling can pad",
        )
    layer.message(place).values["pad"] = [size]

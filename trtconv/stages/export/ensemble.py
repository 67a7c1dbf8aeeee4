"""Preprocessing and postprocessing as ONNX models around the network: the rows that ONNX operators can say.

Decoding and scaling of images stay with the client: what libraries do there, Resize of ONNX does not. So a row is
expressed if all rows after it (before the network) or before it (after the network) are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.records import Dim, TensorInfo
from trtconv.data import postprocess, postprocess_rows, preprocess
from trtconv.graph.building import Builder

_OPSET = 17
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_EXPRESSED = ("normalize", "layout", "channels")


@dataclass(frozen=True)
class Side:
    """What stands before or after the network.

    Attributes:
        model: ONNX bytes; empty: nothing does.
        inputs: of it.
        outputs: of it.
        left: rows that are not in it, in words.
    """

    model: bytes = b""
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    left: tuple[str, ...] = ()


def before(rows: Sequence[Mapping[str, object]], network: Sequence[TensorInfo], dtype: str) -> Side:
    """The rows that end a chain of preprocessing, as a model; ``dtype`` is that of the samples as they come."""
    chain = preprocess.prepare(rows)
    if chain is None or len(network) != 1 or len(network[0].shape) != 4:
        return Side(left=tuple(next(iter(row)) for row in rows))
    start = max((at for at, row in enumerate(chain.rows, 1) if row.name not in _EXPRESSED), default=0)
    done, rest = chain.rows[:start], chain.rows[start:]
    left = tuple(row.name for row in done if row.name != "layout")  # the order of axes is the model's affair
    if not any(row.name in ("normalize", "channels") for row in rest) or any(row.name == "normalize" for row in done):
        return Side(left=tuple(row.name for row in chain.rows))
    return _before(chain, rest, network[0], dtype, left)


def _came(chain: preprocess.Chain, start: int, channels: Dim) -> Dim:
    """Channels of a sample when the first ``start`` rows are done, so that the network gets as many as it wants."""
    for given in (3, channels, 1) if isinstance(channels, int) else ():  # images have three
        try:
            forms = [form for _, form in chain.forms((_ANY, _ANY, given), np.dtype(np.uint8))]
        except UsageError:  # a row does not take so many
            continue
        if forms[-1].channels == channels:
            return forms[start].channels
    return channels


_ANY = 1 << 10  # pixels of a side: enough for any crop of a chain that is asked for its channels


def _before(
    chain: preprocess.Chain, rest: Sequence[preprocess.Step], network: TensorInfo, dtype: str, left: tuple[str, ...]
) -> Side:
    first = chain.first
    batch, *dims = network.shape
    height, width, channels = (*dims[1:], dims[0]) if first else dims
    came = _came(chain, len(chain.rows) - len(rest), channels)
    graph = Builder(_OPSET)
    taken = TensorInfo("sample", dtype, (batch, height, width, came))
    current, kind = graph.input(taken), dtype
    for row in rest:
        current, kind = _row(graph, current, kind, row)
    if first:
        current = graph.add("Transpose", [current], "channels_first", perm=[0, 3, 1, 2])
    current = graph.add("Identity", [current], "prepared")
    made = TensorInfo("prepared", kind, network.shape)
    return Side(graph.model([current], "preprocess").SerializeToString(deterministic=True), (taken,), (made,), left)


def _row(graph: Builder, current: str, kind: str, row: preprocess.Step) -> tuple[str, str]:
    if row.name == "normalize":
        factor, offset = preprocess.linear(row.options)
        current = graph.add("Cast", [current], "numbers", to=1)
        current = graph.add("Mul", [current, graph.constant(np.asarray(factor, np.float32), "factor")], "scaled")
        return graph.add("Sub", [current, graph.constant(np.asarray(offset, np.float32), "offset")], "shifted"), "float"
    if row.name == "channels":
        return _channels(graph, current, kind, row.options), kind
    return current, kind


def _channels(graph: Builder, current: str, kind: str, options: Mapping[str, Any]) -> str:
    if graph.shape(current)[3] == 1:
        same = [current] if options["to"] == "gray" else [current] * 3
        return graph.add("Concat", same, "repeated", axis=3)
    if options["to"] == "gray":
        luma = _LUMA[::-1] if options["swapped"] else _LUMA
        made = graph.add("Cast", [current], "colours", to=1)
        made = graph.add("MatMul", [made, graph.constant(np.ascontiguousarray(luma[:, None]), "luma")], "luminance")
        if kind != "float":
            made = graph.add("Cast", [graph.add("Round", [made], "rounded")], "gray", to=_code(kind))
        return made
    if (options["to"] == "bgr") == options["swapped"]:
        return current
    return graph.add("Gather", [current, graph.constant(np.array([2, 1, 0]), "order")], "swapped", axis=3)


def _code(kind: str) -> int:
    import onnx

    return int(onnx.TensorProto.DataType.Value(kind.upper()))


def after(rows: Sequence[Mapping[str, object]], network: Sequence[TensorInfo]) -> Side:
    """The rows that begin a chain of postprocessing, as a model that takes and gives all outputs."""
    graph = Builder(_OPSET)
    current = {info.name: info for info in network}
    tensors = {info.name: graph.input(TensorInfo(f"raw_{info.name}", info.dtype, info.shape)) for info in network}
    taken = tuple(TensorInfo(f"raw_{info.name}", info.dtype, info.shape) for info in network)
    done = 0
    for row in rows:
        try:
            made = _after_row(graph, row, current, tensors)
        except (UsageError, KeyError):
            made = None
        if made is None:
            break
        done += 1
    left = tuple(next(iter(row)) for row in rows[done:])
    if not done:
        return Side(left=left)
    names = [graph.add("Identity", [tensors[name]], name) for name in current]
    model = graph.model(names, "postprocess")
    return Side(model.SerializeToString(deterministic=True), taken, tuple(current.values()), left)


def _after_row(
    graph: Builder, row: Mapping[str, object], current: dict[str, TensorInfo], tensors: dict[str, str]
) -> bool | None:
    """Add one row; None where ONNX cannot say it, or a shape known only later decides what it means."""
    if list(row) == ["call"]:
        return None
    name, options = postprocess_rows.parse(row, "postprocess")
    output = options["output"] or (next(iter(current)) if len(current) == 1 else "")
    info = current[output]
    labels = options.get("labels") or []
    axis = 1
    if name != "threshold":
        sizes = [dim if isinstance(dim, int) else -1 for dim in info.shape]
        axis, guessed = postprocess.class_axis(output, sizes, options["axis"], len(labels))
        if guessed or (len(sizes) > 3 and options["axis"] is None and -1 in sizes[1:]):
            return None
        if labels and sizes[axis] != len(labels):
            return None
    build = {"softmax": _softmax, "argmax": _argmax, "topk": _topk, "threshold": _threshold}[name]
    made = build(graph, tensors[output], info, {**options, "labels": labels, "axis": axis})
    del current[output], tensors[output]
    for suffix, dtype, shape, tensor in made:
        found = f"{output}{suffix}"
        current[found], tensors[found] = TensorInfo(found, dtype, shape), tensor
    return True


_Made = list[tuple[str, str, tuple[Dim, ...], str]]


def _softmax(graph: Builder, tensor: str, info: TensorInfo, options: Mapping[str, Any]) -> _Made:
    numbers = graph.add("Cast", [tensor], "numbers", to=1)
    return [("", "float", info.shape, graph.add("Softmax", [numbers], "likely", axis=options["axis"]))]


def _unclear(graph: Builder, tensor: str, info: TensorInfo, axis: int) -> str | None:
    """Whether a value along the axis is NaN; None for whole numbers."""
    if info.dtype not in ("float", "float16", "double"):
        return None
    marks = graph.add("Cast", [graph.add("IsNaN", [tensor], "nan")], "marks", to=1)
    most = graph.add("ReduceMax", [marks], "any", axes=[axis], keepdims=1)
    return graph.add("Cast", [most], "unclear", to=9)


def _argmax(graph: Builder, tensor: str, info: TensorInfo, options: Mapping[str, Any]) -> _Made:
    axis = options["axis"]
    best = graph.add("ArgMax", [tensor], "best", axis=axis, keepdims=1)
    if (unclear := _unclear(graph, tensor, info, axis)) is not None:
        best = graph.add("Where", [unclear, graph.constant(np.array(-1), "none"), best], "clear")
    best = graph.add("Squeeze", [best, graph.constant(np.array([axis]), "axis")], "class")
    shape = (*info.shape[:axis], *info.shape[axis + 1 :])
    return [("_class", "int64", shape, best), *_labelled(graph, best, shape, options)]


def _topk(graph: Builder, tensor: str, info: TensorInfo, options: Mapping[str, Any]) -> _Made:
    axis, count = options["axis"], info.shape[options["axis"]]
    if not isinstance(count, int):
        raise UsageError("the number of classes is not known")
    k = min(options["k"], count)
    scores, best = graph.several("TopK", [tensor, graph.constant(np.array([k]), "k")], ["scores", "best"], axis=axis)
    if (unclear := _unclear(graph, tensor, info, axis)) is not None:
        nan = graph.constant(np.array(np.nan, _NUMPY[info.dtype]), "nan_score")
        best = graph.add("Where", [unclear, graph.constant(np.array(-1), "none"), best], "clear")
        scores = graph.add("Where", [unclear, nan, scores], "clear_scores")
    shape = (*info.shape[:axis], k, *info.shape[axis + 1 :])
    return [
        ("_class", "int64", shape, best),
        ("_score", info.dtype, shape, scores),
        *_labelled(graph, best, shape, options),
    ]


_NUMPY = {"float": np.float32, "float16": np.float16, "double": np.float64}


def _labelled(graph: Builder, classes: str, shape: tuple[Dim, ...], options: Mapping[str, Any]) -> _Made:
    """Class names; none for -1, which Gather takes for the last."""
    if not options["labels"]:
        return []
    words = graph.constant(np.array([*options["labels"], ""], object), "words")
    return [("_label", "string", shape, graph.add("Gather", [words, classes], "label"))]


def _threshold(graph: Builder, tensor: str, info: TensorInfo, options: Mapping[str, Any]) -> _Made:
    numbers = graph.add("Cast", [tensor], "numbers", to=1)
    bound = graph.constant(np.array(options["above"], np.float32), "bound")
    return [("_above", "bool", info.shape, graph.add("Greater", [numbers, bound], "above"))]

"""ONNX hygiene: the same function with fewer nodes. Each pass works in place, can be left out, and says if it changed
anything.

Nothing here changes what a model computes, except that folding batch normalization into a convolution rounds its
product once instead of twice (computed in float64).
"""  # noqa: D205

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.graph import check, editing, fold, layout, padding, symbolic, weights_aside

MINIMUM_IR = 8
"""The IR version of opset 15: the oldest that every TensorRT since 8 writes about."""

_ROUNDS = 8


def prepare(model: onnx.ModelProto) -> None:
    """Bring any valid model into one form, in place.

    Local functions are inlined, constants are initializers with raw data and no longer inputs, nodes are sorted and
    named, the IR version is the one that the opset came with, and MINIMUM_IR at least: programs refuse files of a later
    one whatever is in them.
    """
    if model.functions:
        model.CopyFrom(editing.inline(model))
    model.ir_version = max(MINIMUM_IR, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True))
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    editing.normalize(model)
    for graph in editing.graphs(model.graph):
        for tensor in graph.initializer:
            _to_raw(tensor)
        for node in graph.node:
            if node.op_type == "Resize":
                _count_from_half_pixels(node)


def _count_from_half_pixels(node: Any) -> None:
    """Say TensorFlow's nearest neighbour in the way that TensorRT reads too.

    tf_half_pixel_for_nn with floor takes pixel floor((x + 0.5) / scale); half_pixel with round_prefer_ceil takes
    floor(((x + 0.5) / scale - 0.5) + 0.5), which is the same.
    """
    modes = {
        item.name: item for item in node.attribute if item.name in ("coordinate_transformation_mode", "nearest_mode")
    }
    given = {name: item.s for name, item in modes.items()}
    if given == {"coordinate_transformation_mode": b"tf_half_pixel_for_nn", "nearest_mode": b"floor"}:
        modes["coordinate_transformation_mode"].s = b"half_pixel"
        modes["nearest_mode"].s = b"round_prefer_ceil"


def clean(model: onnx.ModelProto, passes: Iterable[str] | None = None) -> None:
    """Run the passes in place until none finds anything; shapes are inferred between rounds.

    Args:
        model: in the form that ``prepare`` gives.
        passes: rows of PASSES; None: all.
    """
    chosen = [PASSES[name] for name in (PASSES if passes is None else passes)]
    for _ in range(_ROUNDS):
        check.infer_shapes(model)
        changes = [run(model) for run in chosen]
        if not any(changes):
            return
    check.infer_shapes(model)


def op_counts(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs, subgraphs included."""
    return Counter(node.op_type for _, node in editing.walk(model.graph))


def drop_identities(model: onnx.ModelProto) -> bool:
    """Remove Identity, inference-mode Dropout, and Cast to the type that the tensor has already."""
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    names = _Renaming(graph)
    kept = [node for node in graph.node if not (_passes_through(node, names, types) and names.join(node))]
    changed = len(kept) < len(graph.node)
    editing.replace_nodes(graph, kept)
    names.apply()
    return changed


def _passes_through(node: Any, names: _Renaming, types: Mapping[str, int]) -> bool:
    if node.domain not in editing.ONNX_DOMAINS:
        return False
    if node.op_type == "Dropout":
        training = len(node.input) > 2 and node.input[2] != ""
        return bool(not training and not any(name in names.read for name in node.output[1:]))
    if node.op_type == "Cast":
        return bool(types.get(node.input[0]) == editing.attribute(node, "to"))
    return bool(node.op_type == "Identity")


class _Renaming:
    """New names for tensors of a graph, gathered while nodes go and applied at once."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.outputs = {value.name for value in graph.output}
        self.read = {name for node in graph.node for name in editing.reads(node)} | self.outputs
        self.made = set(editing.producers(graph))
        self.new: dict[str, str] = {}

    def now(self, name: str) -> str:
        """What a tensor is called after all changes so far."""
        while name in self.new:
            name = self.new[name]
        return name

    def join(self, node: Any) -> bool:
        """Give a node's input and first output one name; False when both names have to stay."""
        source, target = self.now(node.input[0]), node.output[0]
        if target not in self.outputs:
            self.new[target] = source
        elif source in self.made and source not in self.outputs:
            self.new[source] = target
            self.made.add(target)
        else:
            return False
        return True

    def apply(self) -> None:
        if self.new:
            for graph, node in editing.walk(self.graph):
                _rename(node.input, self.now)
                if graph is self.graph:
                    _rename(node.output, self.now)
            for body in list(editing.graphs(self.graph))[1:]:
                for value in body.output:
                    value.name = self.now(value.name)


def _rename(names: Any, now: Callable[[str], str]) -> None:
    for position, name in enumerate(names):
        if now(name) != name:
            names[position] = now(name)


def fold_batch_norm(model: onnx.ModelProto) -> bool:
    """Multiply what scales and shifts the channels of a Conv into its weights, where nothing else reads between them.

    That is BatchNormalization in inference mode, and the Mul and Add with one constant per channel that TensorFlow
    leaves of one behind a depthwise convolution.
    """
    graph = model.graph
    makers, readers = editing.producers(graph), editing.consumers(graph)
    constants = editing.initializers(graph)
    outputs = {value.name for value in graph.output}
    scaled: dict[str, tuple[Any, Any]] = {}
    gone = set()
    for node in graph.node:
        source = _moving_input(node, constants)
        conv = makers.get(source)
        if conv is None or conv.op_type != "Conv" or source in outputs or len(readers[source]) > 1:
            continue
        affine = _affine(node, conv, constants) if _only_constants(conv.input[1:], constants) else None
        if affine is not None:
            factor, shift = scaled.pop(source, (1.0, 0.0))
            conv.output[0] = node.output[0]
            makers[node.output[0]] = conv
            scaled[node.output[0]] = factor * affine[0], shift * affine[0] + affine[1]
            gone.add(node.output[0])
    editing.replace_nodes(graph, [node for node in graph.node if node.output[0] not in gone or node.op_type == "Conv"])
    _scale(graph, scaled, constants)
    return bool(gone)


def _scale(graph: Any, scaled: Mapping[str, tuple[Any, Any]], constants: Mapping[str, Any]) -> None:
    """W' = W f;  b' = b f + s, per output channel, in float64; once for each Conv, as a model frees nothing it held."""
    convs = {node.output[0]: node for node in graph.node if node.output[0] in scaled}
    for output, (factor, shift) in scaled.items():
        conv = convs[output]
        weight = editing.array(constants[conv.input[1]]).astype(np.float64)
        bias = editing.array(constants[conv.input[2]]).astype(np.float64) if len(conv.input) > 2 else 0.0
        new_weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        values = {f"{output}_weight": new_weight, f"{output}_bias": bias * factor + shift}
        for name, value in values.items():
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        del conv.input[1:]
        conv.input.extend(values)


def _moving_input(node: Any, constants: Mapping[str, Any]) -> str:
    """The one input of an operator with two operands that is no constant; else the first."""
    moving = [name for name in node.input if name not in constants]
    return str(moving[0] if len(moving) == 1 else node.input[0] if node.input else "")


def _affine(node: Any, conv: Any, constants: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """(factor, shift) per channel that a node applies to the Conv's output, float64; None when it does other things."""
    if node.op_type == "BatchNormalization":
        usable = _is_inference(node) and _only_constants(node.input[1:], constants)
        return _normalization(node, constants) if usable else None
    given = [name for name in node.input if name in constants]
    if node.op_type not in ("Mul", "Add") or len(given) != 1 or not _only_constants(given, constants):
        return None
    value = _per_channel(editing.array(constants[given[0]]), constants[conv.input[1]].dims)
    if value is None:
        return None
    return (value, np.zeros_like(value)) if node.op_type == "Mul" else (np.ones_like(value), value)


def _is_inference(node: Any) -> bool:
    return not editing.attribute(node, "training_mode", 0) and not any(node.output[1:])


def _normalization(node: Any, constants: Mapping[str, Any]) -> tuple[Any, Any]:
    """Factor s / sqrt(v + eps), shift beta - m s / sqrt(v + eps)."""
    scale, shift, mean, variance = (editing.array(constants[name]).astype(np.float64) for name in node.input[1:5])
    factor = scale / np.sqrt(variance + editing.attribute(node, "epsilon", 1e-5))
    return factor, shift - mean * factor


def _per_channel(value: Any, weight: Any) -> Any:
    """A constant as float64 [channels], when it broadcasts along nothing but the channels of a Conv's output."""
    channels, ones = weight[0], (1,) * (len(weight) - 2)
    aligned = (1,) * (len(weight) - value.ndim) + value.shape
    if aligned not in ((1, channels, *ones), (1, 1, *ones)):
        return None
    return np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float64)


def _only_constants(names: Iterable[str], constants: Mapping[str, Any]) -> bool:
    return all(name in constants and constants[name].data_type == onnx.TensorProto.FLOAT for name in names)


def drop_unused(model: onnx.ModelProto) -> bool:
    """Remove nodes and initializers that no output needs."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(editing.reads(node))
    before = len(graph.node), len(graph.initializer)
    editing.replace_nodes(graph, reversed(kept))
    editing.drop_unused_initializers(graph)
    return before != (len(graph.node), len(graph.initializer))


def share_duplicates(model: onnx.ModelProto) -> bool:
    """Let equal initializers of the main graph be one."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    first: dict[tuple[Any, ...], str] = {}
    same: dict[str, str] = {}
    able = [tensor for tensor in graph.initializer if editing.size(tensor) and tensor.name not in outputs]
    for tensor in _alike(_alike(able, lambda one: (one.data_type, *one.dims)), _kind):
        keeper = first.setdefault((*_kind(tensor), hashlib.sha256(weights_aside.content(tensor)).digest()), tensor.name)
        if keeper != tensor.name:
            same[tensor.name] = keeper
    for _, node in editing.walk(graph):
        _rename(node.input, lambda name: same.get(name, name))
    if same:
        editing.drop_unused_initializers(graph)
    return bool(same)


def _alike(tensors: list[Any], kind: Callable[[Any], Any]) -> list[Any]:
    """Those whose kind another one has too."""
    kinds = [kind(tensor) for tensor in tensors]
    counts = Counter(kinds)
    return [tensor for tensor, own in zip(tensors, kinds, strict=True) if counts[own] > 1]


def _kind(tensor: Any) -> tuple[Any, ...]:
    """What differs between nearly all tensors that differ: type, shape, and how they begin."""
    return tensor.data_type, *tensor.dims, bytes(weights_aside.content(tensor)[:64])


def _to_raw(tensor: Any) -> None:
    if tensor.data_type == onnx.TensorProto.STRING or tensor.HasField("raw_data"):
        return
    tensor.CopyFrom(numpy_helper.from_array(editing.array(tensor), tensor.name))


PASSES: Mapping[str, Callable[[onnx.ModelProto], bool]] = {
    "identities": drop_identities,
    "constants": fold.fold_constants,
    "batch_norm": fold_batch_norm,
    "transposes": layout.join_transposes,
    "reshapes": symbolic.simplify_reshapes,
    "pads": padding.say_pads,
    "unused": drop_unused,
    "duplicates": share_duplicates,
}
"""What ``clean`` does, in order."""

"""What an ONNX model is apart from its weights, as digests: two models that agree are one network, trained twice.

Weights are the numbers that no shape can follow from: floating-point ones and those of 8 bits or fewer. Integers that
may count elements, truth values and texts belong to the network.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from trtconv.core import digests
from trtconv.graph import editing, model_io

_KINDS = ("INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL", "STRING")
_STRUCTURE = frozenset(getattr(onnx.TensorProto, kind) for kind in _KINDS)
_CONTENTS = ("raw_data", "float_data", "int32_data", "int64_data", "string_data", "double_data", "uint64_data")
_SHOWN = 5  # differences of a kind that are named


@dataclass(frozen=True)
class Network:
    """A model by what can differ: kind -> name -> what it is (a text, or a digest of one).

    Attributes:
        kinds: ``opsets``, ``inputs``, ``outputs``, ``nodes``, ``constants``, ``functions``, ``shapes`` (of tensors) and
            ``weights`` (their types and shapes alone).
    """

    kinds: Mapping[str, Mapping[str, str]]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each kind."""
        return {kind: digests.of_value(list(parts.items())) for kind, parts in self.kinds.items()}


def of_file(path: Path, outline: onnx.ModelProto | None = None) -> Network:
    """The network of a model file, without reading its weights as far as that can be.

    Args:
        path: of the model.
        outline: of ``model_io.load`` without weights, where it was read already.

    Raises:
        SourceError: missing, truncated or foreign.
    """
    model = model_io.load(path, weights=False) if outline is None else outline
    hollow = [one for graph in editing.graphs(model.graph) for one in graph.initializer if _is_structure(one)]
    if any(not _has_contents(one) for one in hollow):
        model = model_io.load(path)
    return of_model(model)


def of_model(model: onnx.ModelProto) -> Network:
    """The network of a model that holds the contents of all that is no weight."""
    graph = model.graph
    return Network(
        {
            "opsets": {one.domain or "ai.onnx": str(one.version) for one in model.opset_import},
            "inputs": _values(graph.input),
            "outputs": _values(graph.output),
            "nodes": dict(_nodes(graph.node)),
            "constants": {one.name: _digest(one) for one in graph.initializer if _is_structure(one)},
            "functions": {f"{one.domain}::{one.name}": _digest(one) for one in model.functions},
            "shapes": dict(sorted(_values(graph.value_info).items())),
            "weights": {name: _form(tensor) for name, tensor in weights(model)},
        }
    )


def weights(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Names and values of the weights of the main graph; the constant of a node has its output's name."""
    yield from ((one.name, one) for one in model.graph.initializer if not _is_structure(one))
    for node in model.graph.node:
        yield from ((node.output[0], tensor) for tensor in _held(node))


def weights_of_file(path: Path) -> str:
    """One digest of all of them."""
    return digests.of_value([[name, digest_of_weights(tensor)] for name, tensor in weights(model_io.load(path))])


def digest_of_weights(tensor: onnx.TensorProto) -> str:
    """Of type, shape and values."""
    values = editing.array(tensor)
    return hashlib.sha256(f"{tensor.data_type} {values.shape}".encode() + values.tobytes()).hexdigest()


def differences(old: Network, new: Network) -> list[str]:
    """What is not the same, in sentences; empty for one network."""
    found = []
    for kind, parts in old.kinds.items():
        others = new.kinds[kind]
        gone = [f"{name} is gone" for name in parts if name not in others]
        more = [f"{name} is new" for name in others if name not in parts]
        changed = [_changed(kind, name, parts[name], others[name]) for name in parts if name in others]
        told = [*gone, *more, *filter(None, changed)]
        if told:
            rest = f", and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
            found.append(f"{kind}: {'; '.join(told[:_SHOWN])}{rest}")
        elif list(parts) != list(others):
            found.append(f"{kind}: they come in another order")
    return found


def _changed(kind: str, name: str, old: str, new: str) -> str:
    if old == new:
        return ""
    return f"{name} is another" if kind in ("nodes", "constants", "functions") else f"{name} is {new}, not {old}"


def _values(values: Any) -> dict[str, str]:
    return {one.name: f"{one.dtype} {list(one.shape)}" for one in model_io.infos(values)}


def _form(tensor: onnx.TensorProto) -> str:
    return f"{model_io.dtype_name(tensor.data_type)} {list(tensor.dims)}"


def _nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[tuple[str, str]]:
    """Each by its name, or by its first output where the name is not its own."""
    named = Counter(node.name for node in nodes)
    for node in nodes:
        own = node.name if node.name and named[node.name] == 1 else next(iter(node.output), node.op_type)
        yield own, _digest(_bare_node(node))


def _digest(message: Any) -> str:
    content: bytes = message.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()


def _is_structure(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type in _STRUCTURE


def _has_contents(tensor: onnx.TensorProto) -> bool:
    empty = 0 in tensor.dims
    return empty or any(len(getattr(tensor, field)) for field in _CONTENTS)


def _held(node: onnx.NodeProto) -> list[onnx.TensorProto]:
    """The weights that a Constant node holds."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return []
    return [one.t for one in node.attribute if one.name == "value" and not _is_structure(one.t)]


def _bare_node(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy without what no result depends on, and without weights: in bodies too."""
    bare = onnx.NodeProto()
    bare.CopyFrom(node)
    bare.doc_string = ""
    del bare.metadata_props[:]
    for tensor in _held(bare):
        _empty(tensor)
    for body in editing.bodies(bare):
        for one in (one for one in body.initializer if not _is_structure(one)):
            _empty(one)
        for index, inner in enumerate(body.node):
            body.node[index].CopyFrom(_bare_node(inner))
    return bare


def _empty(tensor: onnx.TensorProto) -> None:
    for field in (*_CONTENTS, "external_data", "data_location"):
        tensor.ClearField(field)

"""What a model file holds, whoever wrote it: inputs, outputs, operators, size; without the framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtconv.core.digests import files_under
from trtconv.core.records import TensorInfo
from trtconv.core.units import format_bytes
from trtconv.report.tables import table

Described = tuple[dict[str, Any], str]


def onnx(path: Path) -> Described:
    """An ONNX file, or a folder that holds one; tensors in other files are not read."""
    from trtconv.graph import model_io

    model = model_io.load(path, weights=False)
    inputs, outputs = model_io.interface(model)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    named = ", ".join(f"{domain} {version}" for domain, version in opsets.items())
    facts = {
        "kind": "onnx",
        "ir_version": model.ir_version,
        "opsets": opsets,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
    }
    ops = Counter(node.op_type for node in model.graph.node)
    return _described(path, f"ONNX, IR {model.ir_version}, opset {named}", facts, inputs, outputs, ops)


def frozen(path: Path) -> Described:
    """A GraphDef."""
    from trtconv.sources.tensorflow import graph_reader

    graph = graph_reader.read_graph(path)
    inputs = [graph_reader.info(node) for node in graph_reader.placeholders(graph.nodes)]
    outputs = [graph_reader.info(node) for node in graph_reader.sinks(graph.nodes)]
    state = [node.name for node in graph.nodes if node.op in graph_reader.VARIABLES]
    title = "TensorFlow graph, not frozen" if state else "frozen TensorFlow graph"
    facts = {"kind": "frozen_pb", "variables": state}
    return _described(path, title, facts, inputs, outputs, graph.ops, "candidate")


def saved_model(path: Path) -> Described:
    """A SavedModel: its parts, and the inputs and outputs of every signature."""
    from trtconv.sources.tensorflow import graph_reader

    parts = graph_reader.read_saved_model(path)
    blocks, facts_of_parts = [], []
    for part in parts:
        signatures = {name: s for name, s in part.signatures.items() if not name.startswith("__saved_model")}
        facts_of_parts.append(
            {
                "tags": part.tags,
                "tensorflow": part.version,
                "nodes": dict(part.graph.ops.most_common()),
                "signatures": {
                    name: {"inputs": _plain(s.inputs), "outputs": _plain(s.outputs)} for name, s in signatures.items()
                },
            }
        )
        tags = f"(tags {', '.join(part.tags) or 'none'})"
        named = [f"signature {name} {tags}\n{tensors(s.inputs, s.outputs)}" for name, s in signatures.items()]
        blocks += named or [f"no signature {tags}"]
    ops = sum((part.graph.ops for part in parts), Counter())
    size = _size(path)
    versions = ", ".join(sorted({part.version for part in parts if part.version})) or "an unknown version"
    head = f"{path}: SavedModel of TensorFlow {versions}, {format_bytes(size)}, {ops.total()} nodes"
    facts = {"kind": "saved_model", "size": size, "parts": facts_of_parts}
    return facts, "\n\n".join([head, *blocks, _histogram(ops)])


def lite(path: Path) -> Described:
    """A TensorFlow Lite model."""
    from trtconv.sources.tflite import file

    model = file.read(path)
    title = f"TensorFlow Lite model{', quantized' if model.quantized else ''}"
    facts = {"kind": "tflite", "quantized": model.quantized, "signatures": model.signatures}
    return _described(path, title, facts, model.inputs, model.outputs, model.ops)


def keras(path: Path) -> Described:
    """A Keras file: its layers."""
    from trtconv.sources.tensorflow import keras_file

    generation, config = keras_file.read(path)
    kinds = Counter(kind for kind, _ in keras_file.layers(config))
    size = _size(path)
    head = f"{path}: model of Keras {generation}, {format_bytes(size)}, {kinds.total()} layers"
    facts = {"kind": "keras", "keras": generation, "size": size, "layers": dict(kinds.most_common())}
    return facts, f"{head}\n\n{_histogram(kinds)}"


def _described(
    path: Path,
    title: str,
    facts: Mapping[str, Any],
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    ops: Counter[str],
    outputs_are: str = "output",
) -> Described:
    size = _size(path)
    document = {
        **facts,
        "size": size,
        "nodes": dict(ops.most_common()),
        "inputs": _plain(inputs),
        "outputs": _plain(outputs),
    }
    head = f"{path}: {title}, {format_bytes(size)}, {ops.total()} nodes"
    return document, f"{head}\n{tensors(inputs, outputs, outputs_are)}\n\n{_histogram(ops)}"


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in files_under(path))


def _plain(tensors: Sequence[TensorInfo]) -> list[dict[str, Any]]:
    return [vars(tensor) for tensor in tensors]


def _histogram(ops: Counter[str]) -> str:
    return ", ".join(f"{count} {op}" for op, count in ops.most_common())


def tensors(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], outputs_are: str = "output") -> str:
    """Inputs and outputs as a table."""
    rows = [
        [kind, t.name, t.dtype or "?", f"[{', '.join(map(str, t.shape))}]" if t.shape else "?"]
        for kind, tensors in (("input", inputs), (outputs_are, outputs))
        for t in tensors
    ]
    return table(["", "name", "type", "shape"], rows)

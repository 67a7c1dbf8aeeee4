"""A model in parts as one ONNX file for ONNX Runtime's own TensorRT providers: engines as EPContext nodes.

The form is that of onnxruntime.ai/docs/execution-providers/EP-Context-Design.html. Engines lie inside of the file
(``embed_mode`` 1), so that it may be moved; the providers need the types and shapes of all tensors between the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from trtconv.core import files
from trtconv.core.errors import BuildError
from trtconv.engines.plan.manifest import Manifest
from trtconv.graph import editing, model_io

PROVIDERS: Mapping[str, str] = {"rtx": "NvTensorRTRTXExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Who made the engines, in ONNX Runtime's words, by flavour."""

DOMAIN, OPERATOR = "com.microsoft", "EPContext"
_MOST = (1 << 31) - (1 << 20)  # bytes: protobuf's limit, and room for the rest


def write(found: Manifest, path: Path) -> None:
    """Write a model in parts as one file.

    Raises:
        BuildError: engines and weights are too large for one file.
    """
    size = sum((found.folder / str(part["engine"] or part["onnx"])).stat().st_size for part in found.parts)
    if size > _MOST:
        raise BuildError(
            f"{path}: the engines and the rest take {size} bytes, and a file of ONNX holds 2 GiB",
            hint="leave --epcontext out: the parts run as they are",
        )
    model = joined(found)
    onnx.checker.check_model(model)
    files.write_bytes(path, model.SerializeToString(deterministic=True))


def joined(found: Manifest, *, engines: bool = True) -> Any:
    """All parts in one model.

    Args:
        found: the parts.
        engines: whether engines become EPContext nodes; else what they were built from stands there.
    """
    model = onnx.ModelProto(producer_name="trtconv", ir_version=8)
    graph, versions = model.graph, dict[str, int]()
    graph.name = "parts"
    graph.input.extend(_value(one) for one in found.facts["inputs"])
    graph.output.extend(_value(one) for one in found.facts["outputs"])
    taken = {one["name"] for one in found.facts["inputs"]}
    for part in found.parts:
        ends = {one["name"] for one in (*part["inputs"], *part["outputs"])}
        if engines and part["kind"] == "engine":
            graph.node.append(_context(found, part))
            versions[DOMAIN] = 1
        else:
            piece = model_io.load(found.folder / part["onnx"])
            _add(model, piece, taken, ends, Path(part["onnx"]).stem)
            versions |= {one.domain: max(one.version, versions.get(one.domain, 0)) for one in piece.opset_import}
            model.ir_version = max(model.ir_version, piece.ir_version)
        taken |= ends
    outer = {one.name for one in (*graph.input, *graph.output)}
    between = {one["name"]: one for part in found.parts for one in (*part["inputs"], *part["outputs"])}
    graph.value_info.extend(_value(one) for name, one in between.items() if name not in outer)
    versions.setdefault("", 17)
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in sorted(versions.items()))
    return model


def _value(one: Mapping[str, Any]) -> Any:
    kind = onnx.TensorProto.DataType.Value(one["dtype"].upper())
    return helper.make_tensor_value_info(one["name"], kind, one["shape"])


def _context(found: Manifest, part: Mapping[str, Any]) -> Any:
    name = Path(part["onnx"]).stem
    targets = {"hardware_architecture": ",".join(found.facts["targets"])} if found.facts["targets"] else {}
    return helper.make_node(
        OPERATOR,
        [one["name"] for one in part["inputs"]],
        [one["name"] for one in part["outputs"]],
        name,
        domain=DOMAIN,
        main_context=1,
        embed_mode=1,
        ep_cache_context=(found.folder / part["engine"]).read_bytes(),
        source=PROVIDERS[found.facts["flavor"]],
        ep_sdk_version=found.facts["version"],
        partition_name=name,
        onnx_model_filename=part["onnx"],
        **targets,
    )


def _add(model: Any, piece: Any, taken: set[str], ends: set[str], label: str) -> None:
    """Append a part's nodes; names that another part has too, as copied constants have, begin with the part's own."""
    inner = {name for node in piece.graph.node for name in node.output if name} - ends
    inner |= {tensor.name for tensor in piece.graph.initializer} - ends
    renamed = {name: f"{label}/{name}" for name in inner & taken}
    taken |= {renamed.get(name, name) for name in inner}
    used = {node.name for node in model.graph.node}
    for node in piece.graph.node:
        _rename(node, renamed)
        if node.name in used:
            node.name = f"{label}/{node.name}"
        model.graph.node.append(node)
    for tensor in piece.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
        model.graph.initializer.append(tensor)
    known = {(function.domain, function.name) for function in model.functions}
    model.functions.extend(f for f in piece.functions if (f.domain, f.name) not in known)


def _rename(node: Any, renamed: Mapping[str, str]) -> None:
    """Also in bodies, which read tensors from around them."""
    _replace(node.input, renamed)
    _replace(node.output, renamed)
    for body in editing.bodies(node):
        for inner in body.node:
            _rename(inner, renamed)
        for value in body.output:
            value.name = renamed.get(value.name, value.name)


def _replace(names: Any, renamed: Mapping[str, str]) -> None:
    fresh: Sequence[str] = [renamed.get(name, name) for name in names]
    del names[:]
    names.extend(fresh)

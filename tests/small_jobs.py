"""Models of one node, jobs and pictures, for tests of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

HEAD = "version: 1\nsource: {path: model.onnx}\n"


def one_op(path: Path, op: str = "Abs", kind: str = "float", dims: Sequence[int | str] = ("batch", 4)) -> Path:
    """A model that applies one operator: input x of a type, output y in float32 where the operator is Cast."""
    taken = getattr(TensorProto, kind.upper())
    made = TensorProto.FLOAT if op == "Cast" else taken
    node = helper.make_node(op, ["x"], ["y"], **({"to": made} if op == "Cast" else {}))
    x, y = (helper.make_tensor_value_info(name, each, list(dims)) for name, each in (("x", taken), ("y", made)))
    graph = helper.make_graph([node], "one", [x], [y])
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def job(path: Path, text: str) -> Path:
    """A job on model.onnx beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + text, encoding="utf-8")
    return path

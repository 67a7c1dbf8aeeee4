"""What a TensorRT refuses of a typed model, node by node."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import UsageError
from trtconv.core.names import one_of
from trtconv.core.records import PluginSpec
from trtconv.engines.build import refusals
from trtconv.engines.run import proof
from trtconv.graph import check, editing, model_io
from trtconv.graph.partition import Reason
from trtconv.stages.build.records import BuildRequest

if TYPE_CHECKING:
    from trtconv.adapters.tensorrt import Loaded


@dataclass(frozen=True)
class Answers:
    """What is known of a model before it is cut.

    Attributes:
        refused: why nodes are in no engine, by name.
        alone: nodes that nobody but TensorRT runs, with the plugins that they need.
        plugins: all of them, with their operators.
        doubts: about plugins, in sentences.
    """

    refused: Mapping[str, Reason]
    alone: frozenset[str] = frozenset()
    plugins: tuple[tuple[PluginSpec, frozenset[str]], ...] = ()
    doubts: tuple[str, ...] = ()

    def needed(self, model: Any) -> tuple[PluginSpec, ...]:
        """The plugins that a part needs."""
        operators = {node.op_type for node, _ in check.foreign_nodes(model)}
        return tuple(spec for spec, own in self.plugins if own & operators)


def asked(model: Any, loaded: Loaded, plugins: tuple[PluginSpec, ...] = ()) -> Answers:
    """What the parser refuses, and which nodes plugins take.

    Args:
        model: prepared for a partition.
        loaded: that would build it.
        plugins: that take nodes too.

    Raises:
        BuildError: the parser takes its process down; nodes do not fit the plugin of their name.
    """
    with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
        path = Path(folder) / "asked.onnx"
        model_io.save(model, path)
        found = refusals.asked(loaded, path, plugins)
    operators = frozenset[str]().union(*found.operators)
    foreign = {(node.domain, node.op_type) for node, _ in check.foreign_nodes(model) if node.op_type in operators}
    taken = (node for node in model.graph.node if node.name not in found.refused)
    alone = frozenset(node.name for node in taken if _holds(node, foreign))
    return Answers(found.refused, alone, tuple(zip(plugins, found.operators, strict=True)), found.doubts)


def _holds(node: Any, operators: Collection[tuple[str, str]]) -> bool:
    inside = (inner for body in editing.bodies(node) for _, inner in editing.walk(body))
    return any((each.domain, each.op_type) in operators for each in (node, *inside))


def without_kernel(model: Any, loaded: Loaded, kinds: Mapping[str, int]) -> dict[str, Reason]:
    """Nodes that the parser takes and the builder is known not to build.

    Args:
        model: any.
        loaded: that would build it.
        kinds: element types of its tensors.
    """
    if loaded.at_least(loaded.can.int8_conv_since):
        return {}
    why = f"{loaded.title} cannot build INT8 convolutions"
    operators = proof.operators(model, kinds)
    old = [one.node for one in operators if one.op.startswith("Conv") and one.kind == "int8"]
    return {name: Reason("kernel", why) for name in old}


def require_made(model: Any, request: BuildRequest) -> None:
    """Hold the tensors that a request names to those that the model's nodes make.

    Raises:
        UsageError: there is no such tensor.
    """
    made = {name for node in model.graph.node for name in node.output if name}
    for key, names in (("cuts", request.cuts), ("bounds", request.bounds)):
        for name in names:
            if name not in made:
                raise UsageError(
                    f"build.partition.{key}: no node of {request.model} makes a tensor {name!r}",
                    hint=one_of(name, made, "tensors"),
                )

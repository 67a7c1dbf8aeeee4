"""What a TensorRT refuses of a typed model, node by node."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import UsageError
from trtconv.core.names import one_of
from trtconv.core.records import PluginSpec
from trtconv.engines.build import refusals
from trtconv.engines.run import proof
from trtconv.graph import model_io
from trtconv.graph.partition import Reason
from trtconv.stages.build.records import BuildRequest

if TYPE_CHECKING:
    from trtconv.adapters.tensorrt import Loaded


def refused(
    model: Any, loaded: Loaded, kinds: Mapping[str, int], plugins: tuple[PluginSpec, ...] = ()
) -> dict[str, Reason]:
    """Nodes that the parser refuses, and those that the builder is known not to build, by name.

    Args:
        model: prepared for a partition.
        loaded: that would build it.
        kinds: element types of its tensors.
        plugins: that take nodes too.

    Raises:
        BuildError: the parser takes its process down.
    """
    with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
        asked = Path(folder) / "asked.onnx"
        model_io.save(model, asked)
        found = refusals.refused(loaded, asked, plugins)
    if not loaded.at_least(loaded.can.int8_conv_since):
        why = f"{loaded.title} cannot build INT8 convolutions"
        operators = proof.operators(model, kinds)
        old = [one.node for one in operators if one.op.startswith("Conv") and one.kind == "int8"]
        found |= {name: Reason("kernel", why) for name in old if name not in found}
    return found


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

"""What a TensorRT refuses of a typed model, node by node."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.records import PluginSpec
from trtconv.engines.build import refusals
from trtconv.engines.run import proof
from trtconv.graph import model_io
from trtconv.graph.partition import Reason

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

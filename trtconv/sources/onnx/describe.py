"""What an ONNX file holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from trtconv.graph import model_io
from trtconv.sources.records import Description, Tensors


def describe(path: Path) -> Description:
    """A file, or a folder that holds one; tensors in other files are not read."""
    model = model_io.load(path, weights=False)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    named = ", ".join(f"{domain} {version}" for domain, version in opsets.items())
    producer = f"{model.producer_name} {model.producer_version}".strip()
    facts = {"ir_version": model.ir_version, "opsets": opsets, "producer": producer}
    counts = Counter(node.op_type for node in model.graph.node)
    title = f"ONNX, IR {model.ir_version}, opset {named}"
    return Description(title, counts, facts, [Tensors(*model_io.interface(model))])

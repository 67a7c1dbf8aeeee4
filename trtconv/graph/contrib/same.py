"""Operators of ONNX Runtime's domain that ONNX has under the same name, with the same meaning."""

from __future__ import annotations

from onnx import helper

from trtconv.graph.contrib.site import Site


def same(site: Site) -> list[str]:
    """ONNX's own operator with the same inputs and attributes."""
    node = site.node
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return site.b.several(node.op_type, list(node.input), list(node.output), **attributes)

"""What a Caffe network holds, told from its prototxt alone."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.records import TensorInfo
from trtconv.sources.caffe import importer, net
from trtconv.sources.records import Description, Tensors


def describe(path: Path) -> Description:
    """Inputs, outputs, layers by type, and how many parameters the layers have.

    Raises:
        SourceError: damaged, or layers that do not fit together.
    """
    network = net.read(path)
    shapes, parameters = _outline(network)
    facts = {"name": network.name, "parameters": parameters, "left_out": list(network.notes)}
    inputs = [TensorInfo(one.name, "float", one.shape or ()) for one in network.inputs]
    outputs = [TensorInfo(name, "float", shapes.get(name, ())) for name in network.outputs]
    name = f" {network.name!r}" if network.name else ""
    amount = f", {parameters / 1e6:.3g} million parameters" if parameters else ""
    counts = Counter(layer.type for layer in network.layers)
    return Description(f"Caffe network{name}{amount}", counts, facts, [Tensors(inputs, outputs)], counted="layers")


def _outline(network: net.Net) -> tuple[dict[str, tuple[int | str, ...]], int]:
    """Shapes of the outputs and the number of parameters, where all inputs have shapes and all layers are known."""
    try:
        made = importer.outline(network)
    except (ConversionError, UsageError):
        return {}, 0
    shapes = {
        blob: tuple("?" if dim is None else dim for dim in made.outputs[name]) for name, blob in made.blobs.items()
    }
    return shapes, sum(math.prod(shape) for shapes_of in made.arrays.values() for shape in shapes_of)

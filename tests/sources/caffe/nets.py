"""Small Caffe networks made on the spot, and ONNX Runtime to run what they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from scripts import caffe_networks
from trtconv.sources.caffe import importer, net
from trtconv.sources.caffe.weights import Weights

Shape = Sequence[int]


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def prototxt(kind: str, parameters: str, inputs: Mapping[str, Shape], tops: str = "y", name: str = "layer") -> str:
    """A network of one layer, which reads all inputs."""
    heads = "".join(
        f'input: "{blob}"\ninput_shape {{ {" ".join(f"dim: {d}" for d in dims)} }}\n' for blob, dims in inputs.items()
    )
    return heads + caffe_networks.layer(kind, name, " ".join(inputs), tops, parameters)


def converted(
    folder: Path,
    text: str,
    arrays: Mapping[str, Sequence[Any]] | None = None,
    outputs: Sequence[str] = (),
    shapes: Any = None,
    opset: int = 17,
) -> Any:
    """What a network becomes."""
    file, weights = folder / "net.prototxt", folder / "net.caffemodel"
    file.write_text(text)
    if arrays:
        weights.write_bytes(caffe_networks.caffemodel(arrays))
    made = importer.to_onnx(net.read(file, shapes), Weights(weights) if arrays else None, outputs, opset)
    onnx.checker.check_model(made.model, full_check=True)
    return made


def run(model: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip((one.name for one in model.graph.output), session.run(None, dict(feeds)), strict=True))


def computed(
    folder: Path,
    kind: str,
    parameters: str,
    x: Any,
    arrays: Sequence[Any] = (),
    tops: str = "y",
    opset: int = 17,
    dynamic: bool = False,
) -> Any:
    """One layer's results on one input, or several: an array, or a list of them for several tops."""
    feeds = x if isinstance(x, dict) else {"x": x}
    text = prototxt(kind, parameters, {name: array.shape for name, array in feeds.items()}, tops)
    shapes = {name: ("batch", *array.shape[1:]) for name, array in feeds.items()} if dynamic else None
    made = converted(folder, text, {"layer": list(arrays)} if len(arrays) else None, shapes=shapes, opset=opset)
    found = run(made.model, feeds)
    results = [found[top] for top in tops.split()]
    return results if len(results) > 1 else results[0]

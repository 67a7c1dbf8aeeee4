"""Engines of every precision on a GPU against their typed ONNX on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import networks
from trtconv.adapters import tensorrt
from trtconv.backends.runner import open_engine, open_onnx
from trtconv.core.errors import NoKernel
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, KeepRules, ShapeRange
from trtconv.stages.build import BuildRequest, build
from trtconv.stages.calibrate import CalibrateRequest, calibrate
from trtconv.stages.lower import LowerRequest, LowerResult, lower

pytestmark = pytest.mark.gpu
LEAST = 0.999
"""Cosine of the flattened outputs."""


NETWORKS = {
    "cnn": (lambda: networks.residual_cnn(width=32), lambda: networks.images(64)),
    "perceptron": (
        lambda: networks.perceptron(512, 512),  # so wide that sums of INT8 products leave the range of float16
        lambda: np.random.default_rng(4).normal(size=(64, 512)).astype(np.float32),
    ),
}


def lowered(folder: Path, network: str, precision: str, keep: KeepRules) -> tuple[LowerResult, dict[str, np.ndarray]]:
    """The typed model, calibrated on the samples that come with it."""
    make, samples = NETWORKS[network]
    model = make()
    onnx.save(model, folder / "model.onnx")
    np.save(folder / "x.npy", samples())
    calibrate(CalibrateRequest(folder / "model.onnx", FeedSpec(folder / "x.npy"), folder / "m.cache"), ignore)
    request = LowerRequest(folder / "model.onnx", folder / "typed.onnx", precision, folder / "m.cache", exclude=keep)
    return lower(request, ignore), {model.graph.input[0].name: samples()}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


@pytest.mark.parametrize(("network", "precision", "kind"), [
    ("cnn", "fp16", "float16"), ("perceptron", "fp16", "float16"),
    ("cnn", "bf16", "bfloat16"), ("perceptron", "bf16", "bfloat16"),
    ("cnn", "fp8", "float8e4m3fn"), ("perceptron", "fp8", "float8e4m3fn"),
    ("perceptron", "int8", "int8"),
    ("cnn", "int8", "int8"),
])  # fmt: skip
def test_engines_agree_with_their_typed_onnx(tmp_path: Path, network: str, precision: str, kind: str) -> None:
    if not any(found.version for found in tensorrt.probe()):
        pytest.skip("no TensorRT is installed")
    loaded = tensorrt.choose("auto")
    convolves = precision == "int8" and network == "cnn" and loaded.at_least(loaded.can.int8_conv_since)
    exclude = KeepRules() if convolves or precision != "int8" else KeepRules(ops=("Conv",))
    result, feeds = lowered(tmp_path, network, precision, exclude)
    assert result.weighted.get(kind, 0) >= 1
    name, samples = next(iter(feeds.items()))
    shape = (
        32,
        *samples.shape[1:],
    )  # with a dynamic batch TensorRT-RTX 1.5 crashes in FP8 convolutions on compute capability 9.0
    fixed = {name: ShapeRange(shape, shape, shape)}
    build(BuildRequest(result.typed, tmp_path / "x.engine", precision, profiles=(fixed,)), ignore)
    engine = open_engine(tmp_path / "x.engine")
    parts = [engine.run({name: samples[start : start + 32]}) for start in (0, 32)]
    engine.close()
    try:
        wanted = open_onnx(result.typed).run(feeds)
    except NoKernel:  # ONNX Runtime has no bfloat16: then it is FP32 that bfloat16 has to be near
        assert precision == "bf16"
        wanted = open_onnx(tmp_path / "model.onnx").run(feeds)
    for output, values in wanted.items():
        got = np.concatenate([part[output] for part in parts])
        assert got.dtype == np.float32
        assert cosine(got, values) >= LEAST, output

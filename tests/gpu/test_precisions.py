"""Engines of every precision on a GPU against their typed ONNX on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import networks
from trtconv.adapters import tensorrt
from trtconv.core.errors import EnvironmentProblem, NoKernel
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, KeepRules, ShapeRange
from trtconv.engines.run.runner import open_engine, open_onnx
from trtconv.stages.build import BuildRequest, build
from trtconv.stages.calibrate import CalibrateRequest, calibrate
from trtconv.stages.lower import LowerRequest, LowerResult, lower
from trtconv.stages.prove import ProveRequest, prove

pytestmark = pytest.mark.gpu
LEAST = 0.999
"""Cosine of the flattened outputs."""


NETWORKS = {
    "cnn": (lambda: networks.residual_cnn(width=32), lambda: networks.images(64)),
    "perceptron": (
        lambda: networks.perceptron(512, 512),  # so wide that sums of INT8 products leave the range of float16
        lambda: np.random.default_rng(4).normal(size=(64, 512)).astype(np.float32),
    ),
    "encoder": (networks.encoder, lambda: np.random.default_rng(4).normal(size=(64, 16, 64)).astype(np.float32)),
    "convolutions": (
        networks.convolutions,
        lambda: np.random.default_rng(4).normal(size=(16, 32, 16, 16)).astype(np.float32),
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


@pytest.mark.parametrize(
    ("network", "precision", "kind"),
    [
        ("cnn", "fp16", "float16"),
        ("perceptron", "fp16", "float16"),
        ("cnn", "bf16", "bfloat16"),
        ("perceptron", "bf16", "bfloat16"),
        ("cnn", "fp8", "float8e4m3fn"),
        ("perceptron", "fp8", "float8e4m3fn"),
        ("perceptron", "int8", "int8"),
        ("cnn", "int8", "int8"),
    ],
)
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
    proof = build(BuildRequest(result.typed, tmp_path / "x.engine", precision, profiles=(fixed,)), ignore).proof
    assert proof.by.startswith("inspector of TensorRT")
    assert proof.wider == ()
    assert proof.found[kind] == pytest.approx(proof.promised[kind])
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


def test_what_runs_in_fp32_is_no_fp16(tmp_path: Path) -> None:
    """A real FP32 engine, judged by the FP16 model of the same network."""
    result, _ = lowered(tmp_path, "perceptron", "fp16", KeepRules())
    build(BuildRequest(tmp_path / "model.onnx", tmp_path / "x.engine", "fp32"), ignore)
    found = prove(ProveRequest(tmp_path / "x.engine", result.typed), ignore)
    assert found.found == {"float": 1.0}
    assert found.wider_share == pytest.approx(1.0)
    assert [one.node for one in found.wider] == ["MatMul_a", "MatMul_c", "Gemm_y"]
    own = prove(ProveRequest(tmp_path / "x.engine", tmp_path / "model.onnx"), ignore)
    assert own.wider_share == 0


def test_without_details_an_engine_cannot_be_proved(tmp_path: Path) -> None:
    result, _ = lowered(tmp_path, "perceptron", "fp16", KeepRules())
    request = BuildRequest(result.typed, tmp_path / "x.engine", "fp16", verbosity="names")
    proof = build(request, ignore).proof
    assert proof.by.startswith("typed ONNX (the inspector of TensorRT")
    assert (proof.promised, proof.found) == ({"float16": 1.0}, {})
    with pytest.raises(EnvironmentProblem, match="cannot be proved here"):
        prove(ProveRequest(tmp_path / "x.engine", result.typed), ignore)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp8"])
def test_attention_is_proved(tmp_path: Path, precision: str) -> None:
    result, _ = lowered(tmp_path, "encoder", precision, KeepRules())
    proof = build(BuildRequest(result.typed, tmp_path / "x.engine", precision), ignore).proof
    assert proof.by.startswith("inspector of TensorRT")
    assert proof.wider == ()
    assert proof.found.get("unknown", 0) < 0.1


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp8"])
def test_convolutions_of_every_kind_are_proved(tmp_path: Path, precision: str) -> None:
    result, _ = lowered(tmp_path, "convolutions", precision, KeepRules())
    proof = build(BuildRequest(result.typed, tmp_path / "x.engine", precision), ignore).proof
    assert proof.by.startswith("inspector of TensorRT")
    assert proof.wider == ()
    assert proof.found == pytest.approx(proof.promised)

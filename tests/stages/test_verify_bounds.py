"""What verify holds every model to, whether anybody gave a bound or not; and on what its figures rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests import networks
from tests.networks import model, node, value
from trtconv.core.errors import UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec
from trtconv.stages.lower import LowerRequest, lower
from trtconv.stages.verify import VerifyRequest, VerifyResult, verify
from trtconv.stages.verify.records import Bound


def compared(folder: Path, typed: str = "typed.onnx", reference: str = "model.onnx", **options: Any) -> VerifyResult:
    data = FeedSpec(folder / "x.npy")
    return verify(VerifyRequest(folder / reference, "FP32", {"typed": folder / typed}, data, 8, **options), ignore)


def saved(folder: Path, network: Any, x: np.ndarray, precision: str = "") -> None:
    onnx.save(network, folder / "model.onnx")
    np.save(folder / "x.npy", x)
    if precision:
        lower(LowerRequest(folder / "model.onnx", folder / "typed.onnx", precision), ignore)


def typed_by_hand(folder: Path, nodes: list[Any], constants: dict[str, np.ndarray], x: np.ndarray) -> None:
    """The nodes from x to y in FP32, and the same in float16 between two casts."""
    ends = [value("x", ["n", *x.shape[1:]])], [value("y", ["n", *x.shape[1:]])]
    saved(folder, model(nodes, *ends, constants), x)
    inner = [node("Cast", "x", "x16", to=10), *(node(n.op_type, " ".join(n.input), n.output[0]) for n in nodes)]
    inner[1].input[0], inner[-1].output[0] = "x16", "y16"
    halves = {name: array.astype(np.float16) for name, array in constants.items()}
    onnx.save(model([*inner, node("Cast", "y16", "y", to=1)], *ends, halves), folder / "typed.onnx")


def test_what_half_precision_absorbs_is_seen_without_a_tolerance(tmp_path: Path) -> None:
    """ONNX Runtime computes it in FP32 and finds no difference."""
    x = np.random.default_rng(0).random((20, 32)).astype(np.float32)
    nodes = [node("Add", "x big", "a"), node("Sub", "a big", "y")]
    typed_by_hand(tmp_path, nodes, {"big": np.full(1, 60000, np.float32)}, x)
    plain = networks.run(onnx.load(tmp_path / "typed.onnx"), {"x": x})["y"]
    assert np.abs(plain - x).max() < 0.01

    result = compared(tmp_path)

    (verdict,) = result.verdicts
    assert (verdict.basis, verdict.runner.endswith(", strict, on CPU")) == ("strict", True)
    assert verdict.bound == "relative difference at most 0.01, SNR at least 30 dB, cosine at least 0.999"
    assert result.violations == ("typed: output 'y' cannot be judged: it is 0 everywhere, and the reference is not",)


def test_a_scale_that_wipes_an_output_out_fails_without_a_bound_of_its_own(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    ends = [value("x", ["n", 8])], [value("small", ["n", 8]), value("large", ["n", 8])]
    half = [node("Mul", "x tiny", "small"), node("Mul", "x one", "large")]
    scales = {"tiny": np.full(1, 1e-3, np.float32), "one": np.ones(1, np.float32)}
    saved(tmp_path, model(half, *ends, scales), x)
    pairs = [
        n
        for name in ("small", "large")
        for n in (
            node("QuantizeLinear", f"{name}_f step zero", f"{name}_q"),
            node("DequantizeLinear", f"{name}_q step zero", name),
        )
    ]
    first = [node("Mul", "x tiny", "small_f"), node("Mul", "x one", "large_f")]
    shared = {**scales, "step": np.float32(0.03), "zero": np.int8(0)}
    network = model([*first, *pairs], *ends, shared, check=False)
    for name in ("step", "zero"):
        del next(t for t in network.graph.initializer if t.name == name).dims[:]
    onnx.save(network, tmp_path / "typed.onnx")

    result = compared(tmp_path)

    assert result.verdicts[0].bound == "SNR at least 10 dB, cosine at least 0.95"
    assert [text.partition(":")[2] for text in result.violations] == [
        " output 'small' cannot be judged: it is 0 everywhere, and the reference is not"
    ]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_good_lowering_keeps_the_defaults(tmp_path: Path, precision: str) -> None:
    x = np.random.default_rng(0).normal(size=(24, 64)).astype(np.float32)
    saved(tmp_path, networks.perceptron(), x, precision)
    result = compared(tmp_path)
    assert result.violations == ()
    assert result.verdicts[0].basis == "strict"
    assert "relative difference" in result.verdicts[0].bound


def test_plain_fp32_rests_on_the_runtime(tmp_path: Path) -> None:
    saved(tmp_path, networks.perceptron(), np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
    result = compared(tmp_path, "model.onnx")
    assert result.verdicts[0].basis == "ONNX Runtime"
    assert result.verdicts[0].bound.startswith("relative difference at most 0.0001")


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (Bound(1e-5), "differs from FP32 by"),
        (Bound(min_snr_db=90), "dB above its noise against FP32; at least 90 is needed"),
        (Bound(min_cosine=0.9999999), "has a cosine of 1.0000 with FP32; at least 1 is needed"),
    ],
)
def test_every_bound_can_be_missed(tmp_path: Path, bound: Bound, words: str) -> None:
    saved(tmp_path, networks.perceptron(), np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32), "fp16")
    (violation,) = compared(tmp_path, bounds={"typed": bound}).violations
    assert words in violation


@pytest.mark.parametrize("count", [0, 7, 9, 16])
def test_a_reference_of_other_samples_is_refused(tmp_path: Path, count: int) -> None:
    saved(tmp_path, networks.perceptron(), np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
    np.savez(tmp_path / "wanted.npz", y=np.random.default_rng(0).normal(size=(count, 32)).astype(np.float32))
    with pytest.raises(UsageError, match=rf"'y' has {count} samples, and the data 8"):
        compared(tmp_path, "model.onnx", "wanted.npz")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (np.where(np.eye(8, 32) > 0, np.nan, 1).astype(np.float32), "holds NaN in 8 of 256"),
        (np.full((8, 32), -np.inf, np.float32), "holds infinity only"),
        (np.zeros((8, 32), np.float32), "is 0 everywhere"),
        (np.full((8, 32), 2.5, np.float32), "is 2.5 everywhere"),
    ],
)
def test_a_reference_that_says_nothing_agrees_with_nothing(tmp_path: Path, wanted: np.ndarray, words: str) -> None:
    saved(tmp_path, networks.perceptron(), np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
    np.savez(tmp_path / "wanted.npz", y=wanted)
    (violation,) = compared(tmp_path, "model.onnx", "wanted.npz", bounds={"typed": Bound(1e3)}).violations
    assert words in violation


@pytest.mark.parametrize(("fill", "words"), [(np.nan, "holds NaN in 256 of 256"), (np.inf, "holds infinity only")])
def test_a_reference_that_is_not_finite_agrees_with_nothing(tmp_path: Path, fill: float, words: str) -> None:
    saved(tmp_path, networks.perceptron(), np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
    np.savez(tmp_path / "wanted.npz", y=np.full((8, 32), fill, np.float32))
    (violation,) = compared(tmp_path, "model.onnx", "wanted.npz").violations
    assert words in violation


def test_infinity_that_fp32_has_too_is_no_overflow(tmp_path: Path) -> None:
    """A division by zero that a Where removes, as in log-mel front ends."""
    x = np.abs(np.random.default_rng(0).normal(size=(8, 16))).astype(np.float32)
    x[2] = 0
    nodes = [node("Div", "x x", "d"), node("IsNaN", "d", "n"), node("Where", "n x d", "w"), node("Mul", "w x", "y")]
    network = model(nodes, [value("x", ["n", 16])], [value("y", ["n", 16])])
    saved(tmp_path, network, x, "fp16")
    from trtconv.stages.verify import tensors

    assert compared(tmp_path).violations == ()
    data = FeedSpec(tmp_path / "x.npy")
    assert tensors.overflows(tmp_path / "typed.onnx", data, 8, tmp_path / "model.onnx") == ()

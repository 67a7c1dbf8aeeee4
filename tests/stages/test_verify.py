"""Which sample an output and a label are of, and what is no class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.networks import model, node, value
from trtconv.core.errors import ConversionError, SourceError, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, ShapeRange
from trtconv.engines.run.runner import open_onnx
from trtconv.stages.verify import VerifyRequest, VerifyResult, verify
from trtconv.stages.verify.bisect import BisectRequest, bisect
from trtconv.stages.verify.comparing import Race


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Classes of series of any length, by their mean."""
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    nodes = [node("ReduceMean", "x", "mean", axes=[1], keepdims=0), node("MatMul", "mean w", "y")]
    network = model(nodes, [value("x", ["n", "steps", 4])], [value("y", ["n", 3])], {"w": weights})
    onnx.save(network, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def truth(network: Path) -> np.ndarray:
    """Series of three lengths, mixed, and their classes, the last one wrong; in the folder of the model."""
    rng, session = np.random.default_rng(1), onnxruntime.InferenceSession(network)
    (network.parent / "series").mkdir()
    outputs = []
    for number in range(12):
        series = rng.normal(size=(1, (3, 5, 4)[number % 3], 4)).astype(np.float32)
        np.save(network.parent / "series" / f"{number:02}.npy", series)
        outputs.append(session.run(None, {"x": series})[0])
    scores = np.concatenate(outputs)
    labels = scores.argmax(1)
    labels[-1] = (labels[-1] + 1) % 3
    np.save(network.parent / "labels.npy", labels)
    np.savez(network.parent / "reference.npz", y=scores)
    return labels


def compared(network: Path, reference: str = "model.onnx", labels: str = "labels.npy") -> VerifyResult:
    data = FeedSpec(network.parent / "series", labels)
    return verify(VerifyRequest(network.parent / reference, "R", {"C": network}, data, 2), ignore)


@pytest.mark.parametrize("reference", ["model.onnx", "reference.npz"])
def test_samples_of_many_shapes_keep_their_labels_and_stored_outputs(
    network: Path, truth: np.ndarray, reference: str
) -> None:
    assert len(set(truth[:-1])) > 1
    result = compared(network, reference)
    assert result.verdicts[0].top1 == result.reference_top1 == pytest.approx(100 * 11 / 12)
    assert result.verdicts[0].outputs[0].max_abs < 1e-6


def bisected(network: Path) -> object:
    data = FeedSpec(network.parent / "series", "labels.npy")
    return bisect(BisectRequest(network, data, "fp16", batch=2, max_accuracy_drop=0.0), ignore)


def test_bisect_keeps_them_too(network: Path, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtconv.stages.verify import bisect as module

    seen: list[float] = []
    top1 = module._Trial._top1
    monkeypatch.setattr(module._Trial, "_top1", lambda *given: seen.append(top1(*given)) or seen[-1])
    bisected(network)
    assert seen
    assert seen[0] == pytest.approx(100 * 11 / 12)


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("run", [compared, bisected])
def test_labels_that_are_no_classes(network: Path, truth: np.ndarray, run: object, wrong: int) -> None:
    truth[5] = wrong
    np.save(network.parent / "labels.npy", truth)
    with pytest.raises(UsageError, match=f"label {wrong} is no class: the model has 3, numbered from 0 to 2"):
        run(network)  # type: ignore[operator]


def test_rows_that_are_no_samples_are_no_classes(tmp_path: Path) -> None:
    network = model([node("Transpose", "x", "y", perm=[1, 0])], [value("x", ["n", 5])], [value("y", [5, "n"])])
    onnx.save(network, tmp_path / "model.onnx")
    np.save(tmp_path / "series.npy", np.eye(4, 5, dtype=np.float32))
    data = FeedSpec(tmp_path / "series.npy")
    result = verify(VerifyRequest(tmp_path / "model.onnx", "R", {"C": tmp_path / "model.onnx"}, data, 2), ignore)
    assert result.verdicts[0].agreement is None
    assert result.verdicts[0].outputs[0].max_abs == 0


def test_texts_are_not_compared(tmp_path: Path) -> None:
    names = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_floats=[0.0, 1.0], values_strings=["cat", "dog"]
    )
    network = model([names], [value("x", ["n"])], [value("y", ["n"], TensorProto.STRING)], check=False)
    network.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(network, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.ones(3, np.float32))
    request = VerifyRequest(tmp_path / "model.onnx", "R", {"C": tmp_path / "model.onnx"}, FeedSpec(tmp_path / "x.npy"))
    with pytest.raises(ConversionError, match="output 'y' holds texts"):
        verify(request, ignore)


@pytest.mark.parametrize("arrays", [{}, {"y": np.float32(1)}])
def test_a_reference_without_outputs(network: Path, truth: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
    np.savez(network.parent / "reference.npz", **arrays)
    with pytest.raises(UsageError, match=r"reference\.npz: no outputs of samples in it"):
        compared(network, "reference.npz")


def test_a_reference_that_is_damaged(network: Path, truth: np.ndarray) -> None:
    path = network.parent / "reference.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises((UsageError, SourceError), match=r"reference\.npz: cannot be read"):
        compared(network, "reference.npz")


@pytest.mark.parametrize("reference", ["model.onnx", "reference.npz"])
@pytest.mark.parametrize(("least", "most", "runs"), [(1, 5, [5, 5, 2]), (5, 5, [5, 5, 5]), (3, 40, [12])])
def test_an_engine_gets_as_many_samples_as_its_profile_takes(
    tmp_path: Path, reference: str, least: int, most: int, runs: list[int]
) -> None:
    """Whatever ``batch`` says: 32 is a default, and engines of small profiles refuse it."""
    nodes = [node("Relu", "x", "y")]
    onnx.save(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], {}), tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    np.savez(tmp_path / "reference.npz", y=np.maximum(x, 0))
    seen: list[int] = []

    class Engine:
        """Relu, in a profile."""

        def __init__(self) -> None:
            self.runner = open_onnx(tmp_path / "model.onnx")
            self.inputs, self.values, self.basis = self.runner.inputs, self.runner.values, "engine"
            self.profiles = ({"x": ShapeRange((least, 4), (most, 4), (most, 4))},)

        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            seen.append(len(feeds["x"]))
            return self.runner.run(feeds)

        def describe(self) -> str:
            return "Relu"

    request = VerifyRequest(tmp_path / reference, "R", {}, FeedSpec(tmp_path / "data.npz"))
    verdict = Race(request, "C", Engine(), ignore).verdict()
    assert seen == runs
    assert verdict.outputs[0].max_abs == 0

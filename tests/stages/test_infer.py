"""Inference through ONNX Runtime, in place of an engine and by wish."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.backends.models import conv_net, images
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import Event, Message, Progress, ignore
from trtconv.core.records import FeedSpec
from trtconv.stages.infer import InferRequest, infer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_net(tmp_path / "net.onnx")


@pytest.fixture
def expected(model: Path) -> np.ndarray:
    """What ONNX's own reference implementation computes."""
    y: np.ndarray = ReferenceEvaluator(onnx.load(model)).run(None, {"x": images(21)})[0]
    return y


@pytest.fixture
def data(tmp_path: Path, expected: np.ndarray) -> FeedSpec:
    """21 samples, the last three with a wrong label."""
    labels = expected.argmax(1)
    labels[-3:] = (labels[-3:] + 1) % 10
    np.savez(tmp_path / "data.npz", x=images(21), labels=labels)
    return FeedSpec(tmp_path / "data.npz", labels="labels")


@pytest.mark.parametrize("batch", [1, 8, 21, None])
def test_outputs_are_in_order_whatever_the_batch(
    model: Path, data: FeedSpec, expected: np.ndarray, batch: int | None
) -> None:
    events: list[Event] = []
    result = infer(InferRequest(model, data, model.with_name("out.npz"), batch=batch), events.append)
    assert np.load(result.output)["y"] == pytest.approx(expected, abs=1e-5)
    assert (result.samples, result.fell_back) == (21, "")
    assert result.accuracy == pytest.approx(100 * 18 / 21)
    assert result.runner.startswith("ONNX Runtime ")
    assert result.runner.endswith(" on CPU")
    assert [event for event in events if isinstance(event, Progress)][-1].done == 21


def test_top_classes_with_names_in_a_csv(model: Path, data: FeedSpec, expected: np.ndarray, tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    rows = ({"softmax": {}}, {"topk": {"k": 3, "labels": str(tmp_path / "names.txt")}})
    infer(InferRequest(model, data, tmp_path / "out.csv", postprocess=rows), ignore)
    with (tmp_path / "out.csv").open(newline="") as handle:
        table = list(csv.DictReader(handle))
    chances = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    assert len(table) == 21
    for row, chance in zip(table, chances, strict=True):
        best = np.argsort(-chance)[:3]
        assert [int(row[f"y_class[{k}]"]) for k in range(3)] == best.tolist()
        assert [row[f"y_label[{k}]"] for k in range(3)] == [names[b] for b in best]
        assert [float(row[f"y_score[{k}]"]) for k in range(3)] == pytest.approx(chance[best].tolist(), abs=1e-5)


def test_a_damaged_row_stops_before_anything_runs(model: Path, data: FeedSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="row 1: unknown operation 'softmaxx'"):
        infer(InferRequest(model, data, tmp_path / "out.npz", postprocess=({"softmaxx": {}},)), ignore)
    assert not (tmp_path / "out.npz").exists()


def test_an_unknown_results_format(model: Path, data: FeedSpec, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.xls: unknown results format; there are npz, npy, json"):
        infer(InferRequest(model, data, tmp_path / "out.xls"), ignore)


def test_json_lines(model: Path, data: FeedSpec, expected: np.ndarray, tmp_path: Path) -> None:
    infer(InferRequest(model, data, tmp_path / "out.jsonl", postprocess=({"argmax": {}},)), ignore)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == [{"sample": n, "y_class": int(c)} for n, c in enumerate(expected.argmax(1))]


@pytest.mark.rtx
def test_an_engine_without_a_gpu(model: Path, data: FeedSpec, expected: np.ndarray, tmp_path: Path) -> None:
    from trtconv.adapters import cuda_driver
    from trtconv.stages.build import BuildRequest, build

    if cuda_driver.gpus():
        pytest.skip("this machine has a GPU")
    build(BuildRequest(model, tmp_path / "net.engine", backend="rtx"), ignore)
    events: list[Event] = []
    result = infer(InferRequest(tmp_path / "net.engine", data, tmp_path / "out.npz"), events.append)
    assert "no NVIDIA driver" in result.fell_back or "GPU" in result.fell_back
    assert any(isinstance(e, Message) and e.level == "warning" and "ONNX Runtime" in e.text for e in events)
    assert np.load(result.output)["y"] == pytest.approx(expected, abs=1e-5)
    for backend in ("rtx", "tensorrt"):
        with pytest.raises(EnvironmentProblem) as raised:
            infer(InferRequest(tmp_path / "net.engine", data, tmp_path / "no.npz", model, backend), ignore)
        assert raised.value.exit_code == 5
    assert not (tmp_path / "no.npz").exists()

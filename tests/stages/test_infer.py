"""Inference through ONNX Runtime, in place of an engine and by wish."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.engines.models import conv_net, images
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


def one_operator(path: Path, *nodes: onnx.NodeProto, shape: list[int | str], outputs: dict[str, int]) -> Path:
    """A model of ``x`` whose outputs have any shape."""
    value = onnx.helper.make_tensor_value_info
    made = [value(name, kind, None) for name, kind in outputs.items()]
    graph = onnx.helper.make_graph(list(nodes), "g", [value("x", 1, shape)], made)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (onnx.helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0]), r"\[6, 4\] for 4 samples"),
        (onnx.helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0), r"\[\] for 4 samples"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".jsonl", ".csv"])
def test_outputs_that_do_not_count_samples_are_refused(
    tmp_path: Path, node: onnx.NodeProto, shape: str, suffix: str
) -> None:
    model = one_operator(tmp_path / "m.onnx", node, shape=["n", 6], outputs={"y": 1})
    np.save(tmp_path / "x.npy", np.ones((8, 6), np.float32))
    with pytest.raises(UsageError, match=f"output 'y' has shape {shape}"):
        infer(InferRequest(model, FeedSpec(tmp_path / "x.npy"), tmp_path / f"o{suffix}", batch=4), ignore)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "x.npy"}


def test_a_fixed_batch_takes_what_is_left_and_what_bad_samples_leave(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Mul", ["x", "x"], ["y"])
    model = one_operator(tmp_path / "m.onnx", node, shape=[4, 3], outputs={"y": 1})
    samples = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    samples[1, 1] = np.nan
    np.save(tmp_path / "x.npy", samples)
    result = infer(InferRequest(model, FeedSpec(tmp_path / "x.npy"), tmp_path / "o.npz"), ignore)
    assert (result.samples, len(result.skipped)) == (9, 1)
    assert np.array_equal(np.load(tmp_path / "o.npz")["y"], np.delete(samples, 1, 0) ** 2)


def test_texts_are_written(tmp_path: Path) -> None:
    node = onnx.helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_floats=[0.0, 1.0], values_strings=["cat", "mouse"]
    )
    model = one_operator(tmp_path / "m.onnx", node, shape=["n"], outputs={"y": onnx.TensorProto.STRING})
    np.save(tmp_path / "x.npy", np.array([0, 0, 1], np.float32))
    for suffix in (".npz", ".jsonl"):
        infer(InferRequest(model, FeedSpec(tmp_path / "x.npy"), tmp_path / f"o{suffix}", batch=2), ignore)
    assert np.load(tmp_path / "o.npz")["y"].tolist() == ["cat", "cat", "mouse"]
    assert [json.loads(line)["y"] for line in (tmp_path / "o.jsonl").read_text().splitlines()] == [
        "cat",
        "cat",
        "mouse",
    ]


def test_labels_that_are_no_classes(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=images(3), labels=[1, 10, 2])
    with pytest.raises(UsageError, match="label 10 is no class: the model has 10"):
        infer(InferRequest(model, FeedSpec(tmp_path / "data.npz", "labels"), tmp_path / "o.npz"), ignore)


def test_samples_are_never_overwritten(model: Path, data: FeedSpec) -> None:
    before = data.path.read_bytes()  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"data\.npz holds the samples"):
        infer(InferRequest(model, data, data.path), ignore)  # type: ignore[arg-type]
    assert data.path.read_bytes() == before  # type: ignore[union-attr]


def absorbing(path: Path) -> Path:
    """x + 60000 - 60000 in float16: nothing is left of x, unless somebody computes it in FP32."""
    from tests.networks import model, node, value

    nodes = [
        node("Cast", "x", "h", to=10),
        node("Add", "h big", "a"),
        node("Sub", "a big", "b"),
        node("Cast", "b", "y", to=1),
    ]
    ends = [value("x", ["n", 4])], [value("y", ["n", 4])]
    onnx.save(model(nodes, *ends, {"big": np.full(1, 60000, np.float16)}), path)
    return path


def test_a_typed_model_is_computed_as_its_types_say(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((3, 4), 7, np.float32))
    result = infer(
        InferRequest(absorbing(tmp_path / "m.onnx"), FeedSpec(tmp_path / "x.npy"), tmp_path / "y.npy"), ignore
    )
    assert result.runner.endswith(", strict, on CPU")
    assert not np.load(tmp_path / "y.npy").any()

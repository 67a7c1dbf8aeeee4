"""reference: the source framework's own outputs, sample for sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from trtconv.core import child
from trtconv.core.errors import SourceError
from trtconv.core.events import Event, Progress
from trtconv.core.records import FeedSpec, SourceSpec
from trtconv.stages.reference import ReferenceRequest, reference


@pytest.mark.tf
def test_outputs_of_a_signature_are_its_formula(converted: dict[str, Any]) -> None:
    case = converted["up"]
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    with np.load(case.reference.output) as stored:
        np.testing.assert_allclose(stored["x_out"], case.feeds["x"] @ weight, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(stored["positive"], np.maximum(case.feeds["x"], 0))
    assert case.reference.samples == 5
    assert case.reference.framework.startswith("TensorFlow 2.")


@pytest.mark.tf
def test_saved_model_and_keras_file_give_the_same(converted: dict[str, Any]) -> None:
    with np.load(converted["cnn"].reference.output) as one, np.load(converted["cnn_keras"].reference.output) as other:
        np.testing.assert_allclose(one["output_0"], other["logits"], rtol=1e-5, atol=1e-6)


@pytest.mark.tf
def test_a_frozen_graph_is_run_too(converted: dict[str, Any], refusals: Callable[..., Any], tmp_path: Path) -> None:
    case = converted["two"]
    source, data = SourceSpec(case.folder / "two.pb"), FeedSpec(case.folder / "two.npz")
    request = ReferenceRequest(source, data, tmp_path / "r.npz", ("sum",))
    done = child.call("trtconv.stages.reference:reference", request, lambda _: None, tmp_path / "log").value
    assert done.samples == 5
    with np.load(case.reference.output) as whole, np.load(tmp_path / "r.npz") as part:
        assert part.files == ["sum"]
        np.testing.assert_allclose(part["sum"], whole["sum"], rtol=1e-5, atol=1e-6)
    wrong = ReferenceRequest(request.source, request.data, tmp_path / "q.npz", ("sums",))
    error = refusals("reference", [wrong], tmp_path / "q.npz")[0]
    assert (error.exit_code, error.hint) == (3, "did you mean 'sum'?")


def onnx_source(folder: Path, body: str) -> SourceSpec:
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2] x) => (float[M] y) {{ {body} }}'
    )
    onnx.save(model, folder / "m.onnx")
    np.savez(folder / "x.npz", x=np.arange(10, dtype=np.float32).reshape(5, 2))
    return SourceSpec(folder / "m.onnx")


def test_an_onnx_source_runs_in_onnx_runtime(tmp_path: Path) -> None:
    source = onnx_source(tmp_path, "y = ReduceMax <axes = [1], keepdims = 0> (x)")
    heard: list[Event] = []
    result = reference(
        ReferenceRequest(source, FeedSpec(tmp_path / "x.npz"), tmp_path / "r.npz", batch=2), heard.append
    )
    assert result.framework.startswith("ONNX Runtime")
    assert [e.done for e in heard if isinstance(e, Progress)] == [2, 4, 5]
    with np.load(tmp_path / "r.npz") as stored:
        np.testing.assert_array_equal(stored["y"], [1, 3, 5, 7, 9])


def test_outputs_that_are_not_per_sample_are_refused(tmp_path: Path) -> None:
    source = onnx_source(tmp_path, "y = ReduceMax <axes = [0], keepdims = 0> (x)")
    request = ReferenceRequest(source, FeedSpec(tmp_path / "x.npz"), tmp_path / "r.npz", batch=3)
    with pytest.raises(SourceError, match="not one row per sample"):
        reference(request, lambda _: None)
    assert not (tmp_path / "r.npz").exists()

"""Which runner opens, when it falls back, and what it says to inputs that do not fit."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtconv.core.errors import EnvironmentProblem, SourceError, UsageError
from trtconv.core.events import ignore
from trtconv.engines.measure import closed_loop
from trtconv.engines.measure.semantics import Limits
from trtconv.engines.plan import sidecar
from trtconv.engines.plan.preflight import preflight
from trtconv.engines.run.opening import open_runner
from trtconv.engines.run.runner import open_engine, open_onnx
from trtconv.stages.build import BuildRequest, build

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def engine_file(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine of TensorRT-RTX on a machine without a GPU."""
    from trtconv.adapters import cuda_driver

    install("tensorrt_rtx-1.7.1")
    problem = "this machine has no NVIDIA driver (libcuda.so.1 is missing)"
    monkeypatch.setattr(cuda_driver, "_machine", lambda: cuda_driver._Machine(0, (), problem))
    path = doubling.with_suffix(".engine")
    build(BuildRequest(doubling, path, backend="rtx"), ignore)
    return path


def test_an_onnx_file_runs_on_onnx_runtime(doubling: Path) -> None:
    runner, why = open_runner(doubling)
    assert np.array_equal(runner.run({"x": X})["y"], 2 * X)
    assert runner.describe().startswith("ONNX Runtime ")
    assert why == ""


def test_an_onnx_file_is_no_engine(doubling: Path) -> None:
    with pytest.raises(UsageError, match="backend rtx runs engines, and this is an ONNX model") as raised:
        open_runner(doubling, "rtx")
    assert "trtconv build" in raised.value.hint


def test_without_a_gpu_the_sidecars_model_stands_in(engine_file: Path) -> None:
    runner, why = open_runner(engine_file)
    assert "no NVIDIA driver" in why
    assert np.array_equal(runner.run({"x": X})["y"], 2 * X)


def test_the_stand_in_has_the_engines_limits(engine_file: Path) -> None:
    runner, _ = open_runner(engine_file)
    with pytest.raises(UsageError, match=r"shape \[33, 4\]; the engine was built for \[1, 4\] to \[32, 4\]"):
        runner.run({"x": np.zeros((33, 4), np.float32)})


def test_onnx_runtime_by_wish_is_no_fallback(engine_file: Path) -> None:
    runner, why = open_runner(engine_file, "onnxruntime")
    assert (why, runner.describe()[:12]) == ("", "ONNX Runtime")


@pytest.mark.parametrize(
    ("backend", "reason"), [("rtx", "no NVIDIA driver"), ("tensorrt", "it is an engine of TensorRT-RTX")]
)
def test_a_demanded_engine_never_falls_back(engine_file: Path, backend: str, reason: str) -> None:
    with pytest.raises(EnvironmentProblem, match=reason) as raised:
        open_runner(engine_file, backend, fallback=engine_file.with_suffix(".onnx"))
    assert raised.value.exit_code == 5


def test_nothing_to_fall_back_to(engine_file: Path) -> None:
    sidecar.path_of(engine_file).unlink()
    with pytest.raises(EnvironmentProblem, match=r"no NVIDIA driver.*no ONNX model to run instead"):
        open_runner(engine_file)


def test_a_damaged_engine_is_never_replaced(engine_file: Path) -> None:
    engine_file.write_bytes(engine_file.read_bytes()[:-10])
    with pytest.raises(EnvironmentProblem, match="cut short"):
        open_runner(engine_file, fallback=engine_file.with_suffix(".onnx"))
    engine_file.write_text("hello")
    with pytest.raises(SourceError, match="not a TensorRT engine"):
        open_runner(engine_file, fallback=engine_file.with_suffix(".onnx"))


def test_preflight_lists_every_certain_reason(engine_file: Path) -> None:
    assert preflight(engine_file) == ("this machine has no NVIDIA driver (libcuda.so.1 is missing)",)
    assert len(preflight(engine_file, "tensorrt")) == 2


def test_a_damaged_sidecar_is_said_to_be_one(engine_file: Path) -> None:
    path = sidecar.path_of(engine_file)
    facts = json.loads(path.read_text())
    path.write_text("{}")
    with pytest.raises(SourceError, match="not the sidecar of an engine"):
        sidecar.read(engine_file)
    path.write_text(json.dumps(facts | {"schema": 99}))
    with pytest.raises(SourceError, match="newer trtconv"):
        sidecar.read(engine_file)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"z": X}, "unknown input 'z'; the inputs are x"),
        ({}, "input 'x' is missing"),
        ({"x": X.astype(complex)}, "type complex128, expected float"),
        ({"x": X[0]}, r"shape \[4\], expected \[batch, 4\]"),
        ({"x": X[:, :3]}, r"shape \[2, 3\], expected \[batch, 4\]"),
    ],
)
def test_inputs_that_do_not_fit(doubling: Path, feeds: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_onnx(doubling).run(feeds)


def test_float64_is_taken_as_float32(doubling: Path) -> None:
    assert open_onnx(doubling).run({"x": X.astype(np.float64)})["y"].dtype == np.float32


def test_closed_loop_runs_one_query_at_a_time_per_stream(doubling: Path) -> None:
    queries, partial = closed_loop.measure(
        open_onnx(doubling), {"x": X}, Limits(0.02, 0.05, 10), 2, lambda seconds: None
    )
    assert not partial
    assert len(queries) >= 20
    assert min(query.start for query in queries) >= 20
    assert max(query.end for query in queries) >= 70
    assert all(query.latency == pytest.approx(query.end - query.start) for query in queries)
    under_way = [sum(other.start < query.start < other.end for other in queries) for query in queries]
    assert max(under_way) <= 1


def test_closed_loop_prepares_its_threads_and_frees_its_forks(install: Any, doubling: Path) -> None:
    _, device = install("tensorrt-11.4.0")
    path = doubling.with_suffix(".engine")
    build(BuildRequest(doubling, path, backend="tensorrt"), ignore)
    runner = open_engine(path)
    for _ in range(2):  # the second captures a graph
        runner.run({"x": X})
    before = device.live
    closed_loop.measure(runner, {"x": X}, Limits(0, 0, 2), 3, lambda seconds: None)
    assert device.threads_entered == 3
    assert device.live == before


def test_a_failure_in_a_thread_is_the_callers(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = open_onnx(doubling)
    healthy = runner.run

    def run(feeds: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise EnvironmentProblem("the GPU fell off the bus")
        return healthy(feeds)

    monkeypatch.setattr(runner, "run", run)
    with pytest.raises(EnvironmentProblem, match="fell off"):
        closed_loop.measure(runner, {"x": X}, Limits(0, 0, 2), 1, lambda seconds: None)


def test_typed_onnx_is_computed_strictly_unless_speed_is_measured(tmp_path):
    from tests.stages.test_infer import absorbing

    path = absorbing(tmp_path / "m.onnx")
    strictly, quickly = open_onnx(path), open_onnx(path, exact=False)
    feeds = {"x": np.full((2, 4), 7, np.float32)}
    assert (strictly.basis, quickly.basis) == ("strict", "ONNX Runtime")
    assert not strictly.run(feeds)["y"].any()
    assert quickly.run(feeds)["y"] == pytest.approx(7)  # its kernels compute float16 in FP32

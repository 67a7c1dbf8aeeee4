"""Weights that stay in host memory: budgets at run time, on objects that have the recorded names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.test_recorded_apis import ALL, built, called
from trtconv import Engine
from trtconv.core.errors import UsageError
from trtconv.core.events import ignore
from trtconv.core.records import Features, FeedSpec, Loading
from trtconv.report.summary import bench_text
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.infer import InferRequest, infer

TOTAL = 1000 << 20
STREAMS = Features(streaming=True)


@pytest.fixture(params=ALL)
def streaming(request: pytest.FixtureRequest, install: Any, doubling: Path) -> tuple[Any, Path]:
    """An engine that can stream its weights."""
    fake, _ = install(request.param)
    fake.streamable, fake.automatic = TOTAL, 700 << 20
    return fake, built(fake, doubling, features=STREAMS)


def test_the_build_asks_for_it_and_the_sidecar_says_it(streaming: tuple[Any, Path]) -> None:
    fake, path = streaming
    assert {"flag": fake.BuilderFlag.WEIGHT_STREAMING} in called(fake, "IBuilderConfig.set_flag")
    assert json.loads(path.with_name(path.name + ".json").read_text())["features"]["streaming"] is True


@pytest.mark.parametrize(
    ("budget", "bytes_"),
    [
        (0, 0),
        ("50%", TOTAL // 2),
        ("12.5 %", TOTAL // 8),
        ("600MiB", 600 << 20),
        ("all", TOTAL),
        ("100%", TOTAL),
        (TOTAL, TOTAL),
        ("auto", 700 << 20),
    ],
)
def test_budgets(streaming: tuple[Any, Path], budget: int | str, bytes_: int) -> None:
    fake, path = streaming
    with Engine(path, weight_streaming_budget=budget) as engine:
        assert engine.weight_streaming_budget == bytes_
        np.testing.assert_array_equal(engine(np.ones((8, 4), np.float32)), np.full((8, 4), 2, np.float32))
        with pytest.raises(UsageError, match="contexts exist already") as refused:
            engine.weight_streaming_budget = "50%"
        assert "Engine(model, weight_streaming_budget=...)" in refused.value.hint
    names = [name for name, _ in fake.calls]
    assert called(fake, "ICudaEngine.weight_streaming_budget_v2") == [bytes_]
    set_at = names.index("ICudaEngine.weight_streaming_budget_v2")
    assert set_at < names.index("ICudaEngine.create_execution_context")


def test_without_a_budget_nothing_is_streamed(streaming: tuple[Any, Path]) -> None:
    fake, path = streaming
    with Engine(path) as engine:
        assert engine.weight_streaming_budget == TOTAL
    assert called(fake, "ICudaEngine.weight_streaming_budget_v2") == []


def test_an_engine_that_streams_none_is_not_asked(install: Any, doubling: Path) -> None:
    fake, _ = install(ALL[0])
    with Engine(built(fake, doubling)) as engine:
        assert engine.weight_streaming_budget is None


def test_more_than_there_is(streaming: tuple[Any, Path]) -> None:
    fake, path = streaming
    with pytest.raises(UsageError, match=r"a budget of 2\.0 GiB is more than the 1000\.0 MiB of weights") as refused:
        Engine(path, weight_streaming_budget="2GiB")
    assert f"give at most {TOTAL}" in refused.value.hint
    assert called(fake, "ICudaEngine.weight_streaming_budget_v2") == []


@pytest.mark.parametrize("wrong", ["101%", "-1", "half", "10 apples", "", True])
def test_what_is_no_budget(streaming: tuple[Any, Path], wrong: Any) -> None:
    with pytest.raises(UsageError, match="expected a budget such as 512MiB, 50%, all or auto"):
        Engine(streaming[1], weight_streaming_budget=wrong)


def test_an_engine_that_was_not_built_for_it(install: Any, doubling: Path) -> None:
    fake, _ = install(ALL[0])
    with pytest.raises(UsageError, match="it was not built to stream them") as refused:
        Engine(built(fake, doubling), weight_streaming_budget="50%")
    assert "build: {weight_streaming: true}" in refused.value.hint


def test_a_budget_that_tensorrt_refuses(streaming: tuple[Any, Path]) -> None:
    fake, path = streaming
    fake.refuse_budget = True
    with pytest.raises(UsageError, match=r"a budget of 500\.0 MiB for its weights is refused"):
        Engine(path, weight_streaming_budget="50%")


def measured(path: Path, budget: str) -> Any:
    loading = Loading(budget)
    return bench(BenchRequest(path, batches=(8,), warmup=0.0, duration=0.02, loading=loading), ignore)


def test_bench_tells_budget_and_scratch_memory(streaming: tuple[Any, Path]) -> None:
    _, path = streaming
    result = measured(path, "50%")
    assert result.weights == {"streamable": TOTAL, "budget": TOTAL // 2, "scratch": 1 << 10}
    text = bench_text(result, path.name)
    assert "500.0 MiB of 1000.0 MiB stay on the GPU, the rest comes from host memory in every run" in text
    assert not result.measurements[0].cuda_graph
    assert any("weights come from host memory during the run" in note for note in result.notes)


def test_all_on_the_gpu_is_replayed_as_ever(streaming: tuple[Any, Path]) -> None:
    result = measured(streaming[1], "all")
    assert result.measurements[0].cuda_graph
    assert "weights: all 1000.0 MiB that can be streamed stay on the GPU" in bench_text(result, "x")


def test_infer_with_a_budget(streaming: tuple[Any, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(40, dtype=np.float32).reshape(10, 4))
    request = InferRequest(
        streaming[1], FeedSpec(tmp_path / "x.npy"), tmp_path / "y.npz", loading=Loading("0"), contexts=2
    )
    result = infer(request, ignore)
    assert result.weights["budget"] == 0
    got = np.load(tmp_path / "y.npz")["y"]
    np.testing.assert_array_equal(got, 2 * np.arange(40, dtype=np.float32).reshape(10, 4))


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_onnx_models_have_no_budget(doubling: Path, backend: str) -> None:
    with pytest.raises(UsageError, match="is for a single engine on a GPU"):
        Engine(doubling, weight_streaming_budget="50%", backend=backend)

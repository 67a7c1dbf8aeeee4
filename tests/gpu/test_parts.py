"""Models in parts on a GPU: engines and ONNX Runtime in turns against the whole model under ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks import parts as measured
from tests.conftest import Cli
from tests.parts import BATCHES, made
from tests.parts_lines import LARGE, LINES, Line
from tests.pipeline import test_parts_survive as survivors
from trtconv import Engine
from trtconv.adapters import cuda, onnxruntime
from trtconv.core import versions
from trtconv.core.events import ignore
from trtconv.engines.measure import part_times
from trtconv.engines.run.opening import open_runner
from trtconv.engines.run.parts_engine import PartsEngine
from trtconv.engines.run.runner import EngineRunner
from trtconv.stages.bench import BenchRequest, bench

pytestmark = pytest.mark.gpu
APIS = [name for name, (_, package) in cuda.APIS.items() if versions.of([package])]
CLOSE = {"atol": 2e-2, "rtol": 2e-2}  # TensorRT-RTX computes FP32 in TF32 on compute capability 9.0


@pytest.fixture(scope="module", params=[*LINES, *LARGE])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Line:
    makers: Mapping[str, Callable[[Path], Line]] = {**LINES, **LARGE}
    found = makers[request.param](tmp_path_factory.mktemp("line"))
    made(found.model, **found.options)
    return found


def require_close(model: Path, feeds: Mapping[str, Any], got: Mapping[str, np.ndarray]) -> None:
    """Detections are those of the boxes and scores that the engine gave: small differences change their order."""
    graph = onnx.load(model).graph
    for name, array in onnxruntime.session(model).run(feeds).items():
        if any(node.op_type == "NonMaxSuppression" for node in graph.node) and name == "y":
            array = suppressed(model, got["b"], got["c"])
            np.testing.assert_array_equal(got[name], array)
        else:
            scale = max(float(np.abs(array).max(initial=0)), 1.0)
            np.testing.assert_allclose(got[name] / scale, array / scale, **CLOSE)


def suppressed(model: Path, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    loaded = onnx.load(model)
    last = [node for node in loaded.graph.node if node.op_type in ("NonMaxSuppression", "Cast")]
    graph = onnx.helper.make_graph(
        last,
        "last",
        [onnx.helper.make_tensor_value_info(name, 1, [None] * 3) for name in ("b", "c")],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        list(loaded.graph.initializer),
    )
    alone = onnx.helper.make_model(graph, opset_imports=loaded.opset_import, ir_version=9)
    return onnxruntime.session(alone.SerializeToString()).run({"b": boxes, "c": scores})["y"]


@pytest.mark.parametrize("api", APIS)
def test_parts_are_the_whole(line: Line, api: str) -> None:
    runner, fell_back = open_runner(line.model.with_suffix(".parts"), "rtx", device_api=api)
    try:
        assert (runner.basis, fell_back) == ("engine", "")
        first = {}
        for number, feeds in enumerate([*line.feeds, *line.feeds]):
            got = runner.run(feeds)
            require_close(line.model, feeds, got)
            before = first.setdefault(number % len(line.feeds), got)
            assert all(np.array_equal(got[name], before[name]) for name in before)  # the same bits again
        times = part_times.measure(runner, line.feeds[-1])
        assert {"engine" if each.on == "GPU" else "onnx" for each in times} == set(line.kinds)
        assert all(each.ms > 0 for each in times)
        print("".join(f"\n{each}" for each in times))
    finally:
        runner.close()


def test_several_contexts(line: Line) -> None:
    with Engine(line.model.with_suffix(".parts"), contexts=3, backend="rtx") as engine:
        futures: list[tuple[Future[Any], Mapping[str, Any]]] = [
            (engine.submit(feeds), feeds) for feeds in list(line.feeds) * 4
        ]
        for future, feeds in futures:
            got = future.result()
            require_close(
                line.model,
                feeds,
                got if isinstance(got, dict) else {"y": got} if len(line.feeds) > 1 else {engine.outputs[0].name: got},
            )


@pytest.mark.parametrize("semantics", ["trtexec10", "trtexec11", "app"])
def test_bench(line: Line, semantics: str) -> None:
    request = BenchRequest(
        line.model.with_suffix(".parts"), backend="rtx", semantics=semantics, warmup=0.05, duration=0.1, streams=2
    )
    found = bench(request, ignore).measurements[0]
    assert found.throughput > 0
    assert len(found.part_times) == len(line.kinds)


def test_parts_out_of_the_store(tmp_path: Path, trtconv: Cli) -> None:
    """What another job has built is taken, and runs."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        survivors.prepare(folder)
        done = trtconv("run", "job.yaml", "--json", cwd=folder, env={"TRTCONV_CACHE": str(tmp_path / "store")})
        built = survivors.statuses(done)["build"]
        model = folder / "out/net.typed.parts"
        runner, fell_back = open_runner(model, "rtx")
        assert (runner.basis, fell_back) == ("engine", "")
        require_close(folder / "net.onnx", BATCHES[1], runner.run(BATCHES[1]))
        runner.close()
    assert built == "from cache"


def test_engines_in_a_row_stay_on_the_gpu(tmp_path: Path) -> None:
    """ResNet-50 cut twice costs at most 1.15 times the single engine."""
    figures = measured.cut_in_three(tmp_path)
    print(figures)
    runner, _ = open_runner(figures.parts, "rtx")
    assert isinstance(runner, EngineRunner)
    assert isinstance(runner.engine, PartsEngine)
    assert not runner.engine.obstacle
    runner.close()
    assert figures.worst <= 2e-2
    assert figures.ratio <= 1.15

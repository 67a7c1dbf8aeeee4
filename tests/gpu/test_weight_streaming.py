"""Weights in host memory on a GPU: the same outputs whatever stays there, less memory, more time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtconv import Engine
from trtconv.core.errors import UsageError
from trtconv.core.events import ignore
from trtconv.core.records import Features, Loading
from trtconv.report.tables import table
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.build import BuildRequest, build

pytestmark = pytest.mark.gpu
WIDTH, LAYERS = 4096, 12  # FP16: 384 MiB of weights
BUDGETS = ("0", "50%", "auto", "all")


def network(path: Path) -> Path:
    """Matrix products with a Relu after each, in FP16; values stay near one."""
    generator = np.random.default_rng(0)
    scale = np.float32(np.sqrt(24 / WIDTH))  # of values uniform in +-0.5, for the half that a Relu leaves
    nodes, held = [], []
    for layer in range(LAYERS):
        values = (generator.random((WIDTH, WIDTH), np.float32) - np.float32(0.5)) * scale
        held.append(numpy_helper.from_array(values.astype(np.float16), f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"p{layer}"], name=f"product{layer}"))
        nodes.append(helper.make_node("Relu", [f"p{layer}"], [f"x{layer + 1}"], name=f"relu{layer}"))
    shape = ["batch", WIDTH]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT16, shape)],
        [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT16, shape)],
        held,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@dataclass(frozen=True)
class Ran:
    """What an engine did under one budget; sizes in bytes, times in ms."""

    outputs: np.ndarray
    budget: int
    engine: int
    contexts: int
    process: int
    scratch: int
    graph: bool
    ms: dict[int, float]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = network(tmp_path_factory.mktemp("wide") / "wide.onnx")
    build(BuildRequest(path, path.with_suffix(".engine"), features=Features(streaming=True)), ignore)
    return path.with_suffix(".engine")


def ran(engine: Path, budget: str) -> Ran:
    x = (np.random.default_rng(1).random((8, WIDTH)) - 0.5).astype(np.float16)
    with Engine(engine, weight_streaming_budget=budget) as opened:
        assert not opened.fell_back
        outputs = opened(x)
        kept = opened.weight_streaming_budget
    request = BenchRequest(engine, batches=(1, 32), warmup=0.1, duration=0.4, loading=Loading(budget))
    found = bench(request, ignore)
    assert kept is not None
    return Ran(
        outputs,
        kept if budget != "auto" else found.weights["budget"],
        found.memory_parts["engine"],
        found.memory_parts["contexts"],
        found.memory_parts.get("process", 0),
        found.weights["scratch"],
        found.measurements[0].cuda_graph,
        {each.batch: each.judged_ms["p50"] for each in found.measurements},
    )


def test_budgets(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {budget: ran(engine, budget) for budget in BUDGETS}
    mib = {budget: [f"{size / 2**20:.1f}" for size in sizes(row)] for budget, row in rows.items()}
    cells = [
        [budget, *mib[budget], *(f"{ms:.3f}" for ms in row.ms.values()), "yes" if row.graph else "no"]
        for budget, row in rows.items()
    ]
    header = ["budget", "weights MiB", "engine MiB", "contexts MiB", "process MiB", "scratch MiB"]
    with capsys.disabled():
        print(f"\n{table([*header, 'p50 ms, 1', 'p50 ms, 32', 'graph'], cells, 'lrrrrrrrl')}")
    reference = rows["all"].outputs
    assert np.isfinite(reference).all()
    assert np.abs(reference).max() > 0.01
    for row in rows.values():
        np.testing.assert_array_equal(row.outputs, reference)
    none, half, whole = (rows[budget] for budget in ("0", "50%", "all"))
    assert none.budget == 0 < half.budget < whole.budget
    assert whole.budget > 0.9 * LAYERS * WIDTH * WIDTH * 2
    taken = [row.engine + row.contexts for row in (none, half, whole)]
    assert taken == sorted(set(taken))
    assert none.ms[1] > whole.ms[1]
    assert whole.graph
    assert not none.graph
    assert not half.graph


def sizes(row: Ran) -> tuple[int, ...]:
    return row.budget, row.engine, row.contexts, row.process, row.scratch


def test_several_contexts_under_one_budget(engine: Path) -> None:
    x = (np.random.default_rng(2).random((4, WIDTH)) - 0.5).astype(np.float16)
    with Engine(engine) as whole, Engine(engine, contexts=3, weight_streaming_budget="25%") as streamed:
        expected = whole(x)
        for future in [streamed.submit(x) for _ in range(12)]:
            np.testing.assert_array_equal(future.result(), expected)


def test_more_than_there_is(engine: Path) -> None:
    with pytest.raises(UsageError, match="is more than the"):
        Engine(engine, weight_streaming_budget="100GiB")

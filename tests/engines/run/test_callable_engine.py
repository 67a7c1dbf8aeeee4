"""The model as a callable object."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtconv import Engine
from trtconv.core.errors import UsageError
from trtconv.core.events import ignore
from trtconv.stages.build import BuildRequest, build

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_one_line(doubling: Path) -> None:
    assert np.array_equal(Engine(doubling)(X), 2 * X)


def test_arrays_by_name_and_plain_lists(doubling: Path) -> None:
    with Engine(str(doubling)) as engine:
        assert np.array_equal(engine({"x": X}), 2 * X)
        assert np.array_equal(engine([[1.0, 2.0, 3.0, 4.0]]), [[2, 4, 6, 8]])
        assert engine.runner.startswith("ONNX Runtime")
        assert (engine.inputs[0].name, engine.outputs[0].name) == ("x", "y")


def test_lists_by_name_and_a_name_in_capitals(doubling: Path) -> None:
    path = doubling.rename(doubling.with_name("MODEL.ONNX"))
    with Engine(path) as engine:
        (name,) = (info.name for info in engine.inputs)
        x = np.ones([dim if isinstance(dim, int) else 2 for dim in engine.inputs[0].shape], np.float32)
        assert np.array_equal(engine({name: x.tolist()}), engine(x))


def test_what_comes_before_and_after(doubling: Path) -> None:
    engine = Engine(
        doubling,
        preprocess=lambda value: np.full((1, 4), value, np.float32),
        postprocess=lambda outputs: float(outputs["y"].sum()),
    )
    assert engine(3) == 24.0


def test_futures(doubling: Path) -> None:
    with Engine(doubling, contexts=3) as engine:
        futures = [engine.submit(X + n) for n in range(20)]
        assert all(np.array_equal(future.result(), 2 * (X + n)) for n, future in enumerate(futures))
        with pytest.raises(UsageError, match=r"shape \[4\]"):
            engine.submit(X[0]).result()


def test_a_closed_engine(doubling: Path) -> None:
    engine = Engine(doubling)
    engine.close()
    engine.close()
    for call in (engine, engine.submit):
        with pytest.raises(UsageError, match="the engine is closed"):
            call(X)


def test_no_contexts(doubling: Path) -> None:
    with pytest.raises(UsageError, match="contexts is 0"):
        Engine(doubling, contexts=0)


def test_threads_share_the_contexts_of_a_gpu_and_everything_is_freed(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    path = doubling.with_suffix(".engine")
    build(BuildRequest(doubling, path, backend="tensorrt"), ignore)
    with Engine(path, contexts=2) as engine:
        made = [name for name, _ in fake.calls if name == "ICudaEngine.create_execution_context"]
        assert len(made) == 2

        def work(number: int) -> bool:
            x = np.full((1 + number % 5, 4), number, np.float32)
            return threading.current_thread() is not threading.main_thread() and np.array_equal(engine(x), 2 * x)

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(work, range(60)))
    assert device.live == 0
    assert device.closed


def test_several_inputs_need_names(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "abs"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["s"])], "sum", ends[:2], ends[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "s.onnx")
    engine = Engine(tmp_path / "s.onnx")
    one = np.ones(2, np.float32)
    assert engine({"a": one, "b": one}).tolist() == [2, 2]
    with pytest.raises(UsageError, match="the model has the inputs a, b, and one array was given"):
        engine(one)

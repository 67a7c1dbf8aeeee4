"""Outputs whose shapes only the data decide, and inputs whose values decide shapes, on a pretended TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.fake_tensorrt import Fake, Member, read, write
from tests.engines.test_recorded_apis import ALL, built
from trtconv.core.errors import EnvironmentProblem
from trtconv.engines.measure import gpu_loop
from trtconv.engines.measure.semantics import RULES, Limits
from trtconv.engines.run import runner_threads
from trtconv.engines.run.runner import open_engine

X = np.array([[1, -2, 3, -4], [5, -6, -7, -8]], np.float32)


def selecting(fake: Fake, *, lies: int = 0) -> None:
    """Contexts that give the positive values: how many there are, only the run tells."""
    make = fake._context

    def context() -> Any:
        found = make()
        state: dict[str, Any] = {}
        place, shape = found._behaviour["set_tensor_address"], found._behaviour["set_input_shape"]

        def run(stream: int) -> bool:
            x = read(state["x"], state["shape"])
            values = x[x > 0]
            allocator = state["allocator"]
            address = allocator.reallocate_output_async("y", 0, max(values.nbytes, 1) + lies, 256, stream)
            if not address:
                return False
            write(address, values)
            allocator.notify_shape("y", values.shape)
            return True

        def set_address(name: str, address: int) -> bool:
            state[name] = address
            return bool(place(name, address))

        def set_shape(name: str, dims: tuple[int, ...]) -> bool:
            state["shape"] = dims
            return bool(shape(name, dims))

        def set_allocator(name: str, allocator: Any) -> bool:
            state["allocator"] = allocator
            return True

        found._behaviour.update(get_tensor_shape=lambda name: (-1,), set_output_allocator=set_allocator)
        found._behaviour.update(set_tensor_address=set_address, set_input_shape=set_shape, execute_async_v3=run)
        return found

    fake._context = context  # type: ignore[method-assign]


@pytest.mark.parametrize("record", ALL)
def test_the_data_decide_the_shape_of_an_output(install: Any, doubling: Path, record: str) -> None:
    fake, device = install(record)
    selecting(fake)
    runner = open_engine(built(fake, doubling))
    for x in (X, X[:1], -abs(X), abs(X), X):
        assert np.array_equal(runner.run({"x": x})["y"], x[x > 0])
    runner.close()
    assert device.live == 0


def test_such_an_engine_is_measured_too_without_a_graph(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    selecting(fake)
    runner = open_engine(built(fake, doubling))
    recorded = gpu_loop.measure(runner.engine, {"x": X}, RULES["trtexec11"], Limits(0, 0, 3), 1, lambda _: None)
    assert len(recorded.queries) == 3
    assert recorded.note == "the data decide the shape of an output"
    runner.close()
    assert device.live == 0


def test_such_an_engine_runs_in_a_pool(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    selecting(fake)
    runner = open_engine(built(fake, doubling))
    done: list[np.ndarray] = []
    with runner_threads.workers(runner, 2, {"x": (2, 4)}, {"x": (2, 4)}, None) as team:
        runner_threads.in_order(team.runners, range(20), lambda each, n: each.run({"x": X + n})["y"], done.append)
    assert all(np.array_equal(found, (X + n)[X + n > 0]) for n, found in enumerate(done))
    runner.close()
    assert device.live == 0


def test_no_memory_for_such_an_output_is_an_error(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, device = install("tensorrt-11.4.0")
    selecting(fake, lies=1 << 30)
    runner = open_engine(built(fake, doubling))
    give = device.memory

    def memory(size: int) -> Any:
        if size >= 1 << 30:
            raise EnvironmentProblem("out of GPU memory")
        return give(size)

    monkeypatch.setattr(device, "memory", memory)
    with pytest.raises(EnvironmentProblem, match="the run cannot be enqueued"):
        runner.run({"x": X})
    runner.close()
    assert device.live == 0


def test_values_in_host_memory_decide_shapes(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that TensorRT wants on the host: its values are there before the outputs' shapes are asked for."""
    fake, device = install("tensorrt-11.4.0")
    make_engine, make = fake._engine, fake._context

    def engine() -> Any:
        found = make_engine()
        where = {"x": Member("HOST", 0), "y": Member("DEVICE", 0)}
        found._behaviour.update(
            get_tensor_shape=lambda name: (2,) if name == "x" else (-1, -1),
            get_tensor_profile_shape=lambda name, index: [(2,)] * 3,
            get_tensor_location=where.__getitem__,
        )
        return found

    def context() -> Any:
        found = make()
        state: dict[str, int] = {}

        def wanted() -> tuple[int, ...]:
            return tuple(int(value) for value in read(state["x"], (2,)))

        def run(stream: int) -> bool:
            write(state["y"], np.ones(wanted(), np.float32))
            return True

        found._behaviour.update(
            set_tensor_address=lambda name, address: state.update({name: address}) or True,
            set_input_shape=lambda name, shape: True,
            get_tensor_shape=lambda name: wanted(),
            execute_async_v3=run,
        )
        return found

    monkeypatch.setattr(fake, "_engine", engine)
    monkeypatch.setattr(fake, "_context", context)
    runner = open_engine(built(fake, doubling))
    assert runner.engine.on_host == {"x"}
    for shape in ((3, 4), (1, 2), (3, 4), (5, 5)):
        found = runner.run({"x": np.array(shape, np.float32)})["y"]
        assert found.shape == shape
        assert (found == 1).all()
    runner.close()
    assert device.live == 0

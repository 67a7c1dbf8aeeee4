"""Inputs whose values decide shapes, measured and run by engines of every recorded API."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.engines.fake_tensorrt import Fake, Member, write
from tests.engines.test_recorded_apis import ALL, built, called
from trtconv.core.errors import UsageError
from trtconv.core.events import Message, ignore
from trtconv.core.records import FeedSpec, ShapeRange
from trtconv.engines.plan import sidecar
from trtconv.engines.run.runner import open_engine
from trtconv.stages.bench import BenchRequest, Exports, bench
from trtconv.stages.infer import InferRequest, infer

VALUES = ({"s": ShapeRange((1, 4), (8, 4), (32, 4))}, {"s": ShapeRange((33, 4), (64, 4), (128, 4))})
"""Of the two profiles that the pretended engine has."""


@pytest.fixture
def filling(doubling: Path) -> Path:
    """The doubling model with a second input, ``s``."""
    model = onnx.load(doubling)
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.INT64, [2]))
    onnx.save(model, doubling)
    return doubling


def with_values(fake: Fake) -> list[list[int]]:
    """Engines with an input ``s`` on the host, whose contexts give ``y`` = 2 x in the shape that ``s`` says.

    Returns:
        What ``s`` held, run by run.
    """
    make_engine, make = fake._engine, fake._context
    runs: list[list[int]] = []
    fake.shape_inputs = {"s": (2,)}

    def values(number: int, name: str) -> list[list[int]]:
        assert name == "s", "TensorRT raises for any other input"
        span = VALUES[number][name]
        return [list(bound) for bound in (span.minimum, span.optimum, span.maximum)]

    def engine() -> Any:
        found = make_engine()
        shapes = {"x": (-1, 4), "s": (2,), "y": (-1, -1)}
        found._behaviour.update(
            num_io_tensors=3,
            get_tensor_name=lambda index: ("x", "s", "y")[index],
            get_tensor_shape=shapes.__getitem__,
            get_tensor_mode=lambda name: Member("OUTPUT" if name == "y" else "INPUT", 0),
            get_tensor_dtype=lambda name: fake.DataType.INT64 if name == "s" else fake.DataType.FLOAT,
            get_tensor_location=lambda name: Member("HOST" if name == "s" else "DEVICE", 0),
            is_shape_inference_io=lambda name: name == "s",
            get_tensor_profile_values=values,
        )
        return found

    def context() -> Any:
        found = make()
        state: dict[str, int] = {}
        place, shape, choose = (
            found._behaviour[name]
            for name in ("set_tensor_address", "set_input_shape", "set_optimization_profile_async")
        )

        def wanted() -> tuple[int, ...]:
            return tuple(np.frombuffer(ctypes.string_at(state["s"], 16), np.int64).tolist())

        def run(stream: int) -> bool:
            span = VALUES[state.get("profile", 0)]["s"]
            assert all(low <= v <= high for low, v, high in zip(span.minimum, wanted(), span.maximum, strict=True))
            runs.append(list(wanted()))
            x = np.frombuffer(ctypes.string_at(state["x"], 16 * wanted()[0]), np.float32)
            write(state["y"], (2 * x).reshape(wanted()))
            return True

        found._behaviour.update(
            set_tensor_address=lambda name, address: state.update({name: address}) or place(name, address),
            set_input_shape=lambda name, dims: shape(name, dims) if name == "x" else True,
            set_optimization_profile_async=lambda number, s: state.update(profile=number) or choose(number, s),
            get_tensor_shape=lambda name: wanted(),
            execute_async_v3=run,
        )
        return found

    fake._engine, fake._context = engine, context  # type: ignore[method-assign]
    return runs


@pytest.mark.parametrize("record", ALL)
@pytest.mark.parametrize("semantics", ["trtexec10", "app"])
def test_bench_gives_the_optimum_of_the_batchs_profile(
    install: Any, filling: Path, tmp_path: Path, record: str, semantics: str
) -> None:
    fake, device = install(record)
    runs = with_values(fake)
    path = built(fake, filling, values=VALUES)
    sidecar.path_of(path).unlink()  # the engine itself says them
    request = BenchRequest(
        path, warmup=0.0, duration=0.01, semantics=semantics, layers=True, exports=Exports(outputs=tmp_path / "y.json")
    )
    result = bench(request, ignore)
    assert [measured.batch for measured in result.measurements] == [8]
    assert "input 's' holds [8, 4], the optimum of its values" in result.notes
    assert set(map(tuple, runs)) == {(8, 4)}
    runs.clear()
    bench(BenchRequest(path, batches=(64,), warmup=0.0, duration=0.01, semantics=semantics), ignore)
    assert set(map(tuple, runs)) == {(64, 4)}
    assert device.live == 0


def test_bench_takes_the_values_of_its_data(install: Any, filling: Path, tmp_path: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    runs = with_values(fake)
    np.savez(tmp_path / "data.npz", x=np.ones((8, 4), np.float32), s=np.array([4, 4]))
    path = built(fake, filling, values=VALUES)
    bench(BenchRequest(path, batches=(4,), warmup=0.0, duration=0.01, data=FeedSpec(tmp_path / "data.npz")), ignore)
    assert set(map(tuple, runs)) == {(4, 4)}


@pytest.mark.parametrize("record", ALL)
@pytest.mark.parametrize("given", [None, [8, 4], [4, 4]])
def test_infer_feeds_them_whole(
    install: Any, filling: Path, tmp_path: Path, record: str, given: list[int] | None
) -> None:
    fake, device = install(record)
    runs = with_values(fake)
    x = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, **({} if given is None else {"s": np.array(given)}))
    said: list[Any] = []
    batch = None if given is None else given[0]
    path = built(fake, filling, values=VALUES)
    request = InferRequest(path, FeedSpec(tmp_path / "data.npz"), tmp_path / "out.npz", batch=batch)
    result = infer(request, said.append)
    assert result.samples == 24
    assert np.array_equal(np.load(tmp_path / "out.npz")["y"], 2 * x)
    assert set(map(tuple, runs)) == {tuple(given or (8, 4))}
    texts = [event.text for event in said if isinstance(event, Message)]
    assert any("'s' is not given: it holds [8, 4]" in text for text in texts) == (given is None)
    assert device.live == 0


@pytest.mark.parametrize("record", ALL)
def test_values_outside_the_profiles_are_refused(install: Any, filling: Path, tmp_path: Path, record: str) -> None:
    fake, device = install(record)
    runs = with_values(fake)
    path = built(fake, filling, values=VALUES)
    message = r"input 's' holds \[129, 4\]; the engine was built for \[1, 4\] to \[32, 4\] or \[33, 4\] to \[128, 4\]"
    np.savez(tmp_path / "data.npz", x=np.ones((8, 4), np.float32), s=np.array([129, 4]))
    with pytest.raises(UsageError, match=message):
        infer(InferRequest(path, FeedSpec(tmp_path / "data.npz"), tmp_path / "out.npz"), ignore)
    assert not (tmp_path / "out.npz").exists()
    runner = open_engine(path)
    with pytest.raises(UsageError, match=message):
        runner.run({"x": np.ones((8, 4), np.float32), "s": np.array([129, 4])})
    with pytest.raises(UsageError, match=r"'x' has shape \[8, 4\], and input 's' holds \[64, 4\]"):
        runner.run({"x": np.ones((8, 4), np.float32), "s": np.array([64, 4])})  # of two profiles
    runner.close()
    assert runs == []
    assert device.live == 0
    assert called(fake, "ICudaEngine.get_tensor_profile_values")[:2] == [
        {"name": 0, "profile_index": "s"},
        {"name": 1, "profile_index": "s"},
    ]


class _NoShape:
    """What the bindings return where TensorRT finds no shape: dimensions of which there are -1."""

    def __len__(self) -> int:
        return -1

    def __getitem__(self, index: int) -> int:
        raise IndexError


@pytest.mark.parametrize("record", ALL)
def test_values_that_contradict_the_shapes_are_told(install: Any, filling: Path, record: str) -> None:
    fake, device = install(record)
    with_values(fake)
    make = fake._context

    def context() -> Any:
        found = make()
        found._behaviour.update(get_tensor_shape=lambda name: _NoShape())
        return found

    fake._context = context  # type: ignore[method-assign]
    path = built(fake, filling, values=VALUES)
    fake.says = [("ERROR", "reshape would change volume 16 to 32")]
    said = r"output 'y' has no shape with x of shape \[4, 4\], s of shape \[2\] that holds \[8, 4\]: "
    with pytest.raises(UsageError, match=said):
        bench(BenchRequest(path, batches=(4,), warmup=0.0, duration=0.0), ignore)
    assert device.live == 0


def test_the_stand_in_on_the_cpu_knows_them_from_the_sidecar(install: Any, filling: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    fake.shape_inputs = {"s": (2,)}
    path = built(fake, filling, values=VALUES)
    result = bench(BenchRequest(path, backend="onnxruntime", warmup=0.0, duration=0.0), ignore)
    assert "input 's' holds [8, 4], the optimum of its values" in result.notes
    sidecar.path_of(path).unlink()
    request = BenchRequest(path, filling, backend="onnxruntime", warmup=0.0, duration=0.0, batches=(8,))
    with pytest.raises(UsageError, match="the values of input 's' may decide shapes, and nothing says them") as raised:
        bench(request, ignore)
    assert "--values s=MINxOPTxMAX" in raised.value.hint

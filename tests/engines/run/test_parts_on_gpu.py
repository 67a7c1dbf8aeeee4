"""Models in parts on a GPU: engines of host memory, whose arithmetic ONNX Runtime does on the very addresses given."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests import parts
from tests.engines.fake_tensorrt import FakeDevice
from trtconv import Engine as Callable_
from trtconv.adapters import onnxruntime
from trtconv.adapters.cuda import HostBytes
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, ShapeRange
from trtconv.engines.measure import part_times
from trtconv.engines.plan import dtypes
from trtconv.engines.run import engine, parts_runner
from trtconv.engines.run.engine import Engine
from trtconv.engines.run.opening import open_runner
from trtconv.engines.run.parts_engine import PartsEngine
from trtconv.engines.run.runner import EngineRunner
from trtconv.graph import model_io
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.bench.records import Exports
from trtconv.stages.infer import InferRequest, infer

pytestmark = pytest.mark.rtx


class Context:
    """An execution context: it computes when it is enqueued, from and to the addresses that it was told."""

    def __init__(self, of: Pretended) -> None:
        self.of = of
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        feeds = {
            n: self.read(n, i.dtype) if n in self.of.on_host else np.zeros(self.shapes[n], dtypes.numpy_type(i.dtype))
            for n, i in self.of.takes.items()
        }
        return tuple(self.of.session.run(feeds)[name].shape)

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {name: self.read(name, info.dtype) for name, info in self.of.takes.items()}
        for name, array in self.of.session.run(feeds).items():
            data = np.ascontiguousarray(array)
            ctypes.memmove(self.addresses[name], data.ctypes.data, data.nbytes)
        return True

    def read(self, name: str, dtype: str) -> np.ndarray:
        kind = dtypes.numpy_type(dtype)
        size = int(np.prod(self.shapes[name])) * kind.itemsize
        return np.frombuffer(ctypes.string_at(self.addresses[name], size), kind).reshape(self.shapes[name])


class Pretended(Engine):
    """An engine of a part's ONNX."""

    hosted: frozenset[str] = frozenset()

    def __init__(self, path: Path, device: FakeDevice) -> None:
        model = path.with_suffix(".onnx")
        self.path, self.device = path, device
        self.loaded = SimpleNamespace(title="TensorRT-RTX 1.5")
        self.session = onnxruntime.session(model)
        self.inputs, self.outputs = model_io.interface(model_io.load(model))
        self.takes = {info.name: info for info in self.inputs}
        self.profiles = self.values = ()
        self.on_host = self.hosted & set(self.takes)
        self.one_at_a_time, self.memory_loaded, self.layers = threading.RLock(), 5, 256
        self.contexts: list[Context] = []
        self.closed = False

    @property
    def context_memory(self) -> int:
        return 1

    def memory_used(self) -> int:
        return 10

    def context(self, *, general: bool = False, lasting: bool = False) -> Any:
        self.contexts.append(Context(self))
        return self.contexts[-1], None

    def close(self) -> None:
        self.closed = True


class Copies(FakeDevice):
    """Counts what passes between host and GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.into: list[int] = []
        self.back: list[int] = []

    def stream(self) -> Any:
        stream = super().stream()
        into, back = stream.copy_in, stream.copy_out

        def copy_in(target: int, source: HostBytes) -> None:
            self.into.append(source.array.nbytes)
            into(target, source)

        def copy_out(target: HostBytes, source: int) -> None:
            self.back.append(target.array.nbytes)
            back(target, source)

        stream.copy_in, stream.copy_out = copy_in, copy_out
        return stream


Gpu = tuple[Copies, dict[str, Pretended]]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    device, loaded = Copies(), {}

    def load(path: Path, *_: Any) -> Pretended:
        loaded[path.name] = Pretended(path, device)
        return loaded[path.name]

    monkeypatch.setattr(engine, "load", load)
    return device, loaded


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engine, rest, engine; the second engine reads what the first one made, and the input, too."""
    nodes = [
        *parts.block("x", "a", "w1"),
        parts.gelu("a", "b"),
        parts.node("Add", ["a", "b"], "c"),
        parts.node("Concat", ["c", "x"], "d", axis=1),
        *parts.block("d", "y", "wide"),
    ]
    weights = {**parts.WEIGHTS, "wide": parts.weights(16, 19, 3, 3)}
    path = tmp_path_factory.mktemp("residual") / "net.onnx"
    parts.made(parts.save(path, nodes, {"y": parts.FLOAT}, weights))
    return path


def wanted(model: Path, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    return onnxruntime.session(model).run(feeds)["y"]


def require_close(got: np.ndarray, model: Path, feeds: Mapping[str, np.ndarray]) -> None:
    np.testing.assert_allclose(got, wanted(model, feeds), atol=1e-5, rtol=1e-5)


def test_tensors_between_engines_stay_on_the_gpu(residual: Path, gpu: Gpu) -> None:
    """Only what the rest reads and makes passes through the host; what a later engine reads too stays where it is."""
    device, loaded = gpu
    runner, fell_back = open_runner(residual.with_suffix(".parts"))
    assert isinstance(runner, EngineRunner)
    assert (fell_back, runner.basis) == ("", "engine")
    assert runner.describe().startswith("TensorRT-RTX 1.5 on NVIDIA H200: 2 of 3 parts and 1 by ONNX Runtime")
    for feeds in (*parts.BATCHES, *parts.BATCHES[::-1]):
        device.into.clear()
        device.back.clear()
        require_close(runner.run(feeds)["y"], residual, feeds)
        x = feeds["x"].nbytes
        inner = x // 3 * 16
        assert (device.into, device.back) == ([x, inner], [inner, inner])
    runner.close()
    assert all(one.closed for one in loaded.values())
    assert (device.live, device.closed) == (0, True)


def test_engines_alone_are_one_launch(tmp_path: Path, gpu: Gpu) -> None:
    """Three engines in a row: a query is replayed with its copies, and two copies are all that there are."""
    device, loaded = gpu
    nodes = [*parts.block("x", "a", "w1"), *parts.block("a", "b"), *parts.block("b", "y")]
    model = parts.save(tmp_path / "net.onnx", nodes, {"y": parts.FLOAT}, parts.WEIGHTS)
    found = parts.made(model, cuts=("a", "b"))
    assert [part["kind"] for part in found.parts] == ["engine"] * 3
    runner, _ = open_runner(found.folder)
    for feeds in parts.BATCHES * 2:  # the second run of a shape captures
        require_close(runner.run(feeds)["y"], model, feeds)
    for feeds in parts.BATCHES:
        device.into.clear()
        device.back.clear()
        device.launches = 0
        require_close(runner.run(feeds)["y"], model, feeds)
        assert (len(device.into), len(device.back), device.launches) == (1, 1, 1)
    third = loaded["part02.engine"].contexts[0]
    second = loaded["part01.engine"].contexts[0]
    assert third.addresses["b"] == second.addresses["b"]
    runner.close()
    assert device.live == 0


def test_several_contexts_and_calls_in_the_background(residual: Path, gpu: Gpu) -> None:
    device, loaded = gpu
    with Callable_(residual.with_suffix(".parts"), contexts=3) as called:
        futures = [(called.submit(feeds), feeds) for feeds in parts.BATCHES * 8]
        for future, feeds in futures:
            require_close(future.result(), residual, feeds)
    assert len(loaded["part00.engine"].contexts) >= 3
    assert (device.live, device.closed) == (0, True)


def test_infer_shares_contexts(residual: Path, gpu: Gpu, tmp_path: Path) -> None:
    device, _ = gpu
    np.savez(tmp_path / "x.npz", **parts.BATCHES[2])
    request = InferRequest(
        model=residual.with_suffix(".parts"),
        data=FeedSpec(tmp_path / "x.npz"),
        output=tmp_path / "y.npz",
        batch=5,
        contexts=2,
    )
    done = infer(request, ignore)
    assert (done.samples, done.contexts, done.fell_back) == (32, 2 + 1, "")  # one for the rest of a batch
    require_close(np.load(tmp_path / "y.npz")["y"], residual, parts.BATCHES[2])
    assert device.live == 0


@pytest.mark.parametrize("semantics", ["trtexec10", "trtexec11", "app", "pipelined"])
def test_bench_by_all_rules(residual: Path, gpu: Gpu, semantics: str) -> None:
    device, _ = gpu
    request = BenchRequest(
        residual.with_suffix(".parts"), batches=(1, 4), semantics=semantics, warmup=0.01, duration=0.02, streams=2
    )
    found = bench(request, ignore)
    assert [m.batch for m in found.measurements] == [1, 4]
    assert any("1 of 3 parts run on the CPU" in note for note in found.notes)
    for m in found.measurements:
        assert [(part.name, part.on) for part in m.part_times] == [
            ("part00", "GPU"),
            ("part01", "CPU"),
            ("part02", "GPU"),
        ]
        x = m.batch * 3 * 64 * 4
        inner = x // 3 * 16
        sizes = [(part.h2d_bytes, part.d2h_bytes) for part in m.part_times]
        assert sizes == [(x, inner), (0, 0), (inner, inner)]
        assert all(part.ms > 0 for part in m.part_times)
        assert m.latency_ms["mean"] >= max(part.ms for part in m.part_times) / 4
    assert (device.live, device.closed) == (0, True)
    with pytest.raises(EnvironmentProblem, match="layers are those of one engine"):
        bench(BenchRequest(request.model, exports=Exports(layers=Path("layers.json"))), ignore)


def test_an_engine_that_does_not_load(residual: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it are freed, and everything runs as ONNX, unless an engine is demanded."""
    device, loaded = gpu
    load = engine.load

    def other(path: Path, *given: Any) -> Engine:
        if path.name == "part02.engine":
            raise EnvironmentProblem("made for another GPU", hint="build it here")
        return load(path, *given)

    monkeypatch.setattr(engine, "load", other)
    runner, fell_back = open_runner(residual.with_suffix(".parts"))
    assert isinstance(runner, parts_runner.PartsRunner)
    assert (runner.basis, fell_back) == ("ONNX Runtime", "made for another GPU")
    assert loaded["part00.engine"].closed
    assert device.closed
    with pytest.raises(EnvironmentProblem, match="another GPU"):
        open_runner(residual.with_suffix(".parts"), "rtx")


def test_shapes_outside_of_the_profiles(residual: Path, gpu: Gpu) -> None:
    runner, _ = open_runner(residual.with_suffix(".parts"))
    with pytest.raises(UsageError, match="33"):
        runner.run(parts.images((33, 3, 8, 8))[0])
    require_close(runner.run(parts.BATCHES[0])["y"], residual, parts.BATCHES[0])
    runner.close()


def test_values_that_decide_shapes(tmp_path: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay on the host, be they inputs of the whole or made by a part."""
    monkeypatch.setattr(Pretended, "hosted", frozenset({"s", "t"}))
    nodes = [
        *parts.block("x", "a", "w1"),
        parts.node("Reshape", ["a", "s"], "r"),
        parts.quick("r", "g"),
        parts.node("Mul", ["s", "one"], "t"),
        parts.node("Reshape", ["g", "t"], "h"),
        parts.node("Relu", ["h"], "k"),
        parts.node("Tanh", ["k"], "y"),
    ]
    inputs = {**parts.IMAGE, "s": (parts.INT64, [2])}
    constants = {**parts.WEIGHTS, "one": np.array([1, 1])}
    model = parts.save(tmp_path / "net.onnx", nodes, {"y": parts.FLOAT, "t": parts.INT64}, constants, inputs)
    spans = {"x": ShapeRange((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))}
    values = {"s": ShapeRange((1, 1024), (2, 1024), (4, 1024))}
    found = parts.made(model, profiles=(spans,), values=(values,))
    assert parts.kinds(found).count("engine") == 2
    device, _ = gpu
    runner, _ = open_runner(found.folder)
    for rows in (1, 3, 4, 1):
        feeds = {**parts.images((rows, 3, 8, 8))[0], "s": np.array([rows, 1024])}
        got = runner.run(feeds)
        require_close(got["y"], model, feeds)
        np.testing.assert_array_equal(got["t"], feeds["s"])
    runner.close()
    assert device.live == 0


def test_many_shapes(residual: Path, gpu: Gpu) -> None:
    """More shapes than get contexts of their own, and contexts that are made anew after many changes."""
    device, loaded = gpu
    runner, _ = open_runner(residual.with_suffix(".parts"))
    for number in range(108):
        feeds = parts.images((1 + number % 23, 3, 8, 8))[0]
        require_close(runner.run(feeds)["y"], residual, feeds)
    assert len(loaded["part00.engine"].contexts) == 8 + 2
    runner.close()
    assert device.live == 0


def test_part_times_without_a_gpu(residual: Path) -> None:
    runner, _ = open_runner(residual.with_suffix(".parts"), "onnxruntime")
    found = part_times.measure(runner, parts.BATCHES[1])
    assert [(one.name, one.on, one.h2d_ms, one.h2d_bytes) for one in found] == [
        (f"part0{number}", "CPU", None, 0) for number in range(3)
    ]
    assert all(one.ms > 0 for one in found)
    whole, _ = open_runner(residual)
    assert part_times.measure(whole, parts.BATCHES[1]) == ()


def test_what_the_command_says(residual: Path, trtconv: Callable[..., Any]) -> None:
    done = trtconv("bench", residual.with_suffix(".parts"), "--batch", "2", "--duration", "50ms", "--warmup", "0ms")
    assert done.returncode == 0, done.stderr
    assert "part01 on CPU: " in done.stdout
    document = json.loads(
        trtconv("bench", residual.with_suffix(".parts"), "--duration", "50ms", "--warmup", "0ms", "--json").stdout
    )
    measured = document["bench"]["measurements"][0]
    assert [part["name"] for part in measured["part_times"]] == ["part00", "part01", "part02"]


def test_one_lock_for_all_engines(residual: Path, gpu: Gpu) -> None:
    _, loaded = gpu
    runner, _ = open_runner(residual.with_suffix(".parts"))
    assert isinstance(runner, EngineRunner)
    assert isinstance(runner.engine, PartsEngine)
    assert {id(one.one_at_a_time) for one in loaded.values()} == {id(runner.engine.one_at_a_time)}
    runner.close()

"""Engines on a GPU against ONNX Runtime: all batch sizes, both device APIs, several threads, nothing leaked."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_digits import classified
from tests.engines.models import conv_net, images
from tests.stages.test_build import deciding
from trtconv.adapters import cuda, tensorrt
from trtconv.core import versions
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, ShapeRange
from trtconv.engines.run.opening import open_runner
from trtconv.engines.run.runner import Runner, open_engine, open_onnx
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.build import BuildRequest, build
from trtconv.stages.infer import InferRequest, infer

pytestmark = pytest.mark.gpu
TOLERANCE = {"fp32": 5e-3, "fp16": 2e-2}
"""Absolute, for outputs of about 5. TensorRT-RTX 1.5 computes FP32 in TF32 on compute capability 9.0, flag or not."""


@pytest.fixture(params=list(cuda.APIS))
def api(request: pytest.FixtureRequest) -> str:
    if not versions.of([cuda.APIS[request.param][1]]):
        pytest.skip(f"{cuda.APIS[request.param][1]} is not installed")
    return str(request.param)


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def engine(precision: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of each installed flavour's first choice, with its model beside it."""
    if not any(found.version for found in tensorrt.probe()):
        pytest.skip("no TensorRT is installed")
    model = conv_net(tmp_path_factory.mktemp(precision) / "net.onnx", half=precision == "fp16")
    path = model.with_suffix(".engine")
    build(BuildRequest(model, path, precision), ignore)
    return path


def test_outputs_are_onnx_runtimes(engine: Path, precision: str, api: str) -> None:
    runner, reference = open_engine(engine, device_api=api), open_onnx(engine.with_suffix(".onnx"))
    for batch in (8, 1, 32, 5, 8):
        x = images(batch, seed=batch)
        assert runner.run({"x": x})["y"] == pytest.approx(reference.run({"x": x})["y"], abs=TOLERANCE[precision])
    with pytest.raises(UsageError, match="the engine was built for"):
        runner.run({"x": images(33)})
    runner.close()


def test_both_apis_give_the_same_bits(engine: Path) -> None:
    missing = [name for _, name in cuda.APIS.values() if not versions.of([name])]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    found = []
    for name in cuda.APIS:
        runner = open_engine(engine, device_api=name)
        found.append(runner.run({"x": images(8)})["y"])
        runner.close()
    assert np.array_equal(*found)


def test_forks_run_in_threads_of_their_own(engine: Path, precision: str, api: str) -> None:
    runner = open_engine(engine, device_api=api)
    expected = open_onnx(engine.with_suffix(".onnx")).run({"x": images(4)})["y"]
    worst: list[float] = []

    def difference(fork: Runner) -> float:
        return float(np.abs(fork.run({"x": images(4)})["y"] - expected).max())

    def work(fork: Runner) -> None:
        with fork.current():
            worst.extend(difference(fork) for _ in range(20))

    forks = [runner.fork() for _ in range(3)]
    threads = [threading.Thread(target=work, args=(fork,)) for fork in forks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fork in forks:
        fork.close()
    runner.close()
    assert len(worst) == 60
    assert max(worst) < TOLERANCE[precision]


def test_runs_leave_nothing_behind(engine: Path, api: str) -> None:
    runner = open_engine(engine, device_api=api)
    for batch in range(32, 22, -1):  # eight shapes get contexts of their own, the others share one
        runner.run({"x": images(batch)})
    before = runner.engine.device.memory_info()[0]
    for number in range(500):
        runner.run({"x": images(1 + number % 32)})
    assert abs(runner.engine.device.memory_info()[0] - before) < 8 << 20
    runner.close()


def test_a_gpu_runs_the_engine_and_says_so(engine: Path, api: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=images(70))
    result = infer(InferRequest(engine, FeedSpec(tmp_path / "data.npz"), tmp_path / "out.npz", device_api=api), ignore)
    assert result.fell_back == ""
    assert result.runner.startswith("TensorRT")
    assert " on NVIDIA " in result.runner
    expected = open_onnx(engine.with_suffix(".onnx")).run({"x": images(70)})["y"]
    assert np.array_equal(np.load(tmp_path / "out.npz")["y"].argmax(1), expected.argmax(1))


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("semantics", ["trtexec10", "trtexec11", "app"])
def test_every_semantics_on_the_gpu(engine: Path, api: str, semantics: str, streams: int) -> None:
    request = BenchRequest(
        engine, batches=(1, 32), semantics=semantics, warmup=0.1, duration=0.3, streams=streams, device_api=api
    )
    result = bench(request, ignore)
    assert result.fell_back == ""
    assert result.memory is not None
    assert result.memory > 0
    for measured in result.measurements:
        assert measured.queries >= 10 * streams
        assert measured.throughput > 0
        if semantics == "app":
            assert measured.compute_ms is None
        else:
            assert measured.compute_ms is not None
            assert measured.compute_ms > 0
            assert (measured.h2d_ms is not None) is (semantics == "trtexec10")
            assert measured.latency_ms["median"] >= measured.compute_ms * 0.99
    if semantics == "trtexec11":
        graphs = {measured.cuda_graph for measured in result.measurements}
        assert graphs == {True} or any("no CUDA graph" in note for note in result.notes)


def test_the_other_flavor_is_refused(engine: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="it is an engine of"):
        open_runner(engine, "tensorrt" if b"vtrt" in engine.read_bytes()[:4] else "rtx")


def test_a_second_start_finds_its_kernels(engine: Path) -> None:
    runner = open_engine(engine)
    if not runner.engine.loaded.can.jit:
        pytest.skip("this TensorRT compiles while building")
    runner.run({"x": images(3)})
    runner.close()
    assert engine.with_name(engine.name + ".kernels").stat().st_size > 0
    open_engine(engine).close()


def test_digits_are_classified_through_yaml_alone(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result, _ = classified(tmp_path)
    assert result["runner"].startswith("TensorRT")
    assert result["fell_back"] == ""
    assert result["samples"] == 360


@pytest.mark.parametrize("op", ["Expand", "Reshape", "Range"])
def test_values_of_an_input_decide_shapes(tmp_path: Path, api: str, op: str) -> None:
    """TensorRT wants them in host memory before a run."""
    model, bounds = deciding(tmp_path / "net.onnx", op), ShapeRange((1,), (8,), (16,))
    if op != "Range":
        bounds = ShapeRange((1, 4), (8, 4), (16, 4))
    build(BuildRequest(model, tmp_path / "net.engine", values=({"s": bounds},)), ignore)
    runner, reference = open_engine(tmp_path / "net.engine", device_api=api), open_onnx(model)
    assert runner.engine.on_host == {"s"}
    for rows in (3, 7, 3, 1, 16):
        x = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)[: rows if op == "Reshape" else 1]
        feeds = {"s": np.array(rows)} if op == "Range" else {"x": x, "s": np.array([rows, 4])}
        assert np.array_equal(runner.run(feeds)["y"], reference.run(feeds)["y"])
    runner.close()


SPANS = (ShapeRange((1, 4), (8, 4), (16, 4)), ShapeRange((17, 4), (32, 4), (64, 4)))


@pytest.fixture(scope="module")
def reshaping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of two profiles, which reshapes ``x`` to what ``s`` says."""
    model = deciding(tmp_path_factory.mktemp("values") / "net.onnx", "Reshape")
    path = model.with_suffix(".engine")
    build(
        BuildRequest(model, path, profiles=tuple({"x": s} for s in SPANS), values=tuple({"s": s} for s in SPANS)),
        ignore,
    )
    return path


@pytest.mark.parametrize("semantics", ["trtexec10", "trtexec11", "app"])
def test_values_are_measured_at_the_optimum_of_the_batchs_profile(reshaping: Path, api: str, semantics: str) -> None:
    request = BenchRequest(reshaping, batches=(8, 32), semantics=semantics, warmup=0.0, duration=0.1, device_api=api)
    result = bench(request, ignore)
    assert result.fell_back == ""
    assert [measured.batch for measured in result.measurements] == [8, 32]
    assert {f"input 's' holds [{rows}, 4], the optimum of its values" for rows in (8, 32)} <= set(result.notes)


@pytest.mark.parametrize(("given", "batch"), [(None, None), ([8, 4], None), ([4, 4], 4), ([24, 4], 24)])
def test_values_are_fed_whole_with_every_batch(
    reshaping: Path, api: str, tmp_path: Path, given: list[int] | None, batch: int | None
) -> None:
    x = np.random.default_rng(0).normal(size=(48, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, **({} if given is None else {"s": np.array(given)}))
    request = InferRequest(
        reshaping, FeedSpec(tmp_path / "data.npz"), tmp_path / "out.npz", batch=batch, device_api=api
    )
    result = infer(request, ignore)
    assert result.fell_back == ""
    assert np.array_equal(np.load(tmp_path / "out.npz")["y"], x)


def test_values_beyond_the_profiles_are_refused(reshaping: Path, api: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((8, 4), np.float32), s=np.array([65, 4]))
    said = r"input 's' holds \[65, 4\]; the engine was built for \[1, 4\] to \[16, 4\] or \[17, 4\] to \[64, 4\]"
    with pytest.raises(UsageError, match=said):
        infer(InferRequest(reshaping, FeedSpec(tmp_path / "data.npz"), tmp_path / "out.npz", device_api=api), ignore)


def test_values_alone_choose_the_profile(tmp_path: Path, api: str) -> None:
    model = deciding(tmp_path / "net.onnx", "Expand")
    build(BuildRequest(model, tmp_path / "net.engine", values=tuple({"s": s} for s in SPANS)), ignore)
    runner = open_engine(tmp_path / "net.engine", device_api=api)
    assert runner.values == tuple({"s": s} for s in SPANS)
    x = np.arange(4, dtype=np.float32)[None]
    for rows in (3, 40, 16, 17, 64):
        assert np.array_equal(runner.run({"x": x, "s": np.array([rows, 4])})["y"], np.repeat(x, rows, axis=0))
    runner.close()


def test_too_many_contexts_tell_what_memory_is_needed(engine: Path) -> None:
    """As many bytes as the GPU has are gone: a context cannot be made, and the message says what to lower."""
    runner = open_engine(engine)
    device, taken = runner.engine.device, []
    try:
        while device.memory_info()[0] > 64 << 20:
            taken.append(device.memory(max(device.memory_info()[0] - (48 << 20), 1 << 20)))
        with pytest.raises(EnvironmentProblem, match=r"out of GPU memory: .* needed, .* free") as raised:
            device.memory(1 << 30)
        assert "lower the batch size" in raised.value.hint
    finally:  # a failure would leave it to no other test
        for memory in taken:
            memory.close()
    assert len(runner.run({"x": images(2)})["y"]) == 2
    runner.close()

"""The build and run paths of every flavour, on objects that have the recorded names and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.engines.fake_tensorrt import Fake, FakeDevice
from trtconv.adapters import cuda
from trtconv.core.errors import BuildError, EnvironmentProblem, OutOfMemory, UsageError
from trtconv.core.events import Message, ignore
from trtconv.core.records import ShapeRange
from trtconv.engines.measure import gpu_loop, layers, tune
from trtconv.engines.measure.semantics import RULES, Limits
from trtconv.engines.run import engine, runner_threads
from trtconv.engines.run.execution import Slot
from trtconv.engines.run.host_buffers import Tray
from trtconv.engines.run.opening import open_runner
from trtconv.engines.run.runner import EngineRunner, open_engine
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.build import BuildRequest, build

ALL = ("tensorrt-10.16.1", "tensorrt-11.4.0", "tensorrt_rtx-1.5.0", "tensorrt_rtx-1.7.1")
TENSORRT, RTX = ALL[:2], ALL[2:]
BACKEND = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}


def called(fake: Fake, name: str) -> list[Any]:
    return [given for what, given in fake.calls if what == name]


def built(fake: Fake, model: Path, **options: Any) -> Path:
    path = model.with_suffix(".engine")
    build(BuildRequest(model, path, backend=BACKEND[fake.module], **options), ignore)
    return path


@pytest.mark.parametrize("record", ALL)
def test_one_code_builds_on_all(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    path = built(fake, doubling, precision="fp32", workspace=1 << 28)
    assert path.read_bytes() == fake.plan
    strongly_typed = 1 << int(fake.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert called(fake, "Builder.create_network") == [{"flags": strongly_typed}]
    assert called(fake, "IBuilderConfig.clear_flag") == [{"flag": fake.BuilderFlag.TF32}]
    assert called(fake, "IBuilderConfig.set_memory_pool_limit")[0]["pool_size"] == 1 << 28
    assert called(fake, "IOptimizationProfile.set_shape") == [
        {"input": "x", "min": (1, 4), "opt": (8, 4), "max": (32, 4)}
    ]
    facts = json.loads(path.with_name("doubling.engine.json").read_text())
    assert facts["version"] == fake.version
    assert facts["flavor"] == BACKEND[fake.module]


@pytest.mark.parametrize("precision", ["typed", "fp32", "tf32", "fp16", "int8"])
def test_only_tf32_allows_tf32(install: Any, doubling: Path, precision: str) -> None:
    fake, _ = install("tensorrt-11.4.0")
    built(fake, doubling, precision=precision)
    switched = [name for name, _ in fake.calls if name in ("IBuilderConfig.set_flag", "IBuilderConfig.clear_flag")]
    assert switched == [f"IBuilderConfig.{'set_flag' if precision == 'tf32' else 'clear_flag'}"]


@pytest.mark.parametrize("record", TENSORRT)
def test_kernel_times_are_kept_for_the_next_build(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    built(fake, doubling)
    assert called(fake, "IBuilderConfig.create_timing_cache") == [{"serialized_timing_cache": b""}]
    assert doubling.with_suffix(".engine.timing").read_bytes() == b"times"
    built(fake, doubling)
    assert called(fake, "IBuilderConfig.create_timing_cache")[1] == {"serialized_timing_cache": b"times"}


@pytest.mark.parametrize("record", RTX)
def test_rtx_measures_nothing_while_building(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    built(fake, doubling)
    assert called(fake, "IBuilderConfig.create_timing_cache") == []
    assert not doubling.with_suffix(".engine.timing").exists()


@pytest.mark.parametrize("record", RTX)
def test_targets_fill_every_slot(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    built(fake, doubling, targets=("sm86", "SM89"))
    assert called(fake, "IBuilderConfig.num_compute_capabilities") == [2]
    slots = called(fake, "IBuilderConfig.set_compute_capability")
    assert [(slot["compute_capability"].name, slot["index"]) for slot in slots] == [("SM86", 0), ("SM89", 1)]


@pytest.mark.parametrize("record", TENSORRT)
def test_tensorrt_has_no_targets(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    with pytest.raises(UsageError, match="builds for this machine's GPU only"):
        built(fake, doubling, targets=("sm86",))


def test_a_refused_network_gives_the_log_without_noise(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt_rtx-1.7.1")
    fake.refuse_plan = True
    cause = ("ERROR", "Error Code 2: maxScratchSize > 0 failed.")
    noise = ("ERROR", "[checkMacros.cpp::catchCudaError::250] cudaError 35")
    fake.says = [cause, cause, noise, ("VERBOSE", "chatter")]
    with pytest.raises(BuildError) as raised:
        built(fake, doubling)
    assert str(raised.value).count("maxScratchSize") == 1
    assert "catchCudaError" not in str(raised.value)
    assert "chatter" not in str(raised.value)
    assert raised.value.hint.startswith("raise build.workspace")
    assert not doubling.with_suffix(".engine").exists()


def test_an_older_engine_survives_a_failed_build_with_its_facts(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt_rtx-1.7.1")
    path = built(fake, doubling)
    before = path.with_name("doubling.engine.json").read_text()
    fake.refuse_plan = True
    with pytest.raises(BuildError):
        built(fake, doubling)
    assert path.read_bytes() == fake.plan
    assert path.with_name("doubling.engine.json").read_text() == before


def test_warnings_reach_the_result_once(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt_rtx-1.7.1")
    fake.says = [
        ("WARNING", "weights are subnormal"),
        ("WARNING", "weights are subnormal"),
        ("WARNING", "[MS] Multi stream is disabled because of the moon."),
    ]
    result = build(BuildRequest(doubling, doubling.with_suffix(".engine"), backend="rtx"), ignore)
    assert result.warnings == ("weights are subnormal",)


@pytest.mark.parametrize("record", ALL)
@pytest.mark.parametrize("batch", [1, 5, 32, 100])
def test_one_code_runs_on_all(install: Any, doubling: Path, record: str, batch: int) -> None:
    fake, device = install(record)
    runner = open_engine(built(fake, doubling))
    x = np.random.default_rng(batch).normal(size=(batch, 4)).astype(np.float32)
    assert np.array_equal(runner.run({"x": x})["y"], 2 * x)
    assert np.array_equal(runner.run({"x": x[:1]})["y"], 2 * x[:1]) or batch > 32  # back to the first profile
    assert runner.describe() == f"{'TensorRT-RTX' if 'rtx' in record else 'TensorRT'} {fake.version} on NVIDIA H200"
    runner.close()
    assert device.live == 0
    assert device.closed


def test_outputs_are_the_callers_own(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    first = runner.run({"x": np.ones((2, 4), np.float32)})["y"]
    runner.run({"x": np.zeros((2, 4), np.float32)})
    assert (first == 2).all()


def test_profiles_are_chosen_by_shape_and_bounds_are_told(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    runner.run({"x": np.zeros((64, 4), np.float32)})
    assert called(fake, "IExecutionContext.set_optimization_profile_async") == [
        {"profile_index": 1, "stream_handle": 7}
    ]
    with pytest.raises(
        UsageError, match=r"shape \[129, 4\]; the engine was built for \[1, 4\] to \[32, 4\] or \[33, 4\]"
    ):
        runner.run({"x": np.zeros((129, 4), np.float32)})


@pytest.mark.parametrize("record", RTX)
def test_rtx_compiles_for_the_shape_and_keeps_its_kernels(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    path = built(fake, doubling)
    open_engine(path).close()
    eager = fake.DynamicShapesKernelSpecializationStrategy.EAGER
    assert called(fake, "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy") == [eager]
    assert path.with_name("doubling.engine.kernels").read_bytes() == b"kernels"
    open_engine(path).close()
    assert called(fake, "IRuntimeCache.deserialize") == [{"blob": b"kernels"}]


@pytest.mark.parametrize(("version", "alone"), [("1.4.0.76", True), ("1.5.0.114", False)])
def test_contexts_that_stay_with_one_shape_share_kernels_where_that_costs_nothing(
    install: Any, doubling: Path, version: str, alone: bool
) -> None:
    """With 1.4 a context runs slower with kernels that another one compiled by the same cache (docs/runtime.md)."""
    fake, _ = install("tensorrt_rtx-1.5.0")
    fake.__version__ = version
    path = built(fake, doubling)
    loaded = engine.load(path)
    gpu_loop.measure(loaded, {"x": np.ones((1, 4), np.float32)}, RULES["trtexec11"], Limits(0, 0, 3), 2, lambda _: None)
    assert len(called(fake, "IRuntimeConfig.create_runtime_cache")) == (4 if alone else 1)
    # each begins with what the ones before it compiled
    assert called(fake, "IRuntimeCache.deserialize") == [{"blob": b"kernels"}] * (3 if alone else 0)
    loaded.close()
    assert path.with_name("doubling.engine.kernels").read_bytes() == b"kernels"


def test_a_verdict_of_rtx_is_advice(install: Any, doubling: Path) -> None:
    """The pretended RTX calls every engine unfit for this GPU, as 1.4 to 1.6 do on an H200, and loads it."""
    fake, _ = install("tensorrt_rtx-1.5.0")
    said: list[Message] = []
    runner, why = open_runner(built(fake, doubling), emit=said.append)  # type: ignore[arg-type]
    assert isinstance(runner, EngineRunner)
    assert why == ""
    assert any("built for other compute capabilities; it loads all the same" in message.text for message in said)


def test_an_engine_that_does_not_load_says_why(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt_rtx-1.5.0")
    path = built(fake, doubling)
    fake.refuse_plan, fake.says = True, [("ERROR", "The engine cannot run on this GPU")]
    with pytest.raises(EnvironmentProblem, match=r"does not load on NVIDIA H200: The engine cannot run on this GPU;"):
        open_runner(path, backend="rtx")
    assert device.closed


def test_an_engine_that_does_not_load_is_replaced_only_where_allowed(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt_rtx-1.5.0")
    path = built(fake, doubling)
    fake.refuse_plan = True
    runner, why = open_runner(path)
    assert "does not load on NVIDIA H200" in why
    assert runner.describe().startswith("ONNX Runtime")


@pytest.mark.parametrize("record", ALL)
@pytest.mark.parametrize("semantics", ["trtexec10", "trtexec11"])
@pytest.mark.parametrize("streams", [1, 3])
def test_the_loop_counts_what_began_after_the_warm_up(
    install: Any, doubling: Path, record: str, semantics: str, streams: int
) -> None:
    fake, device = install(record)
    loaded = engine.load(built(fake, doubling))
    feeds = {"x": np.ones((8, 4), np.float32)}
    told: list[float] = []
    rules = RULES[semantics]
    recorded = gpu_loop.measure(loaded, feeds, rules, Limits(0.02, 0.05, 10), streams, told.append)
    assert len(recorded.queries) >= 10 * streams
    assert min(query.start for query in recorded.queries) >= (0 if rules.transfers else 20)
    assert max(query.end for query in recorded.queries) >= 70
    assert all((query.h2d is not None) is rules.transfers for query in recorded.queries)
    assert recorded.graph is rules.graph
    assert told[0] == 0.0
    for query in recorded.queries:
        assert query.compute is not None
        assert query.latency == pytest.approx((query.h2d or 0) + query.compute + (query.d2h or 0))
    loaded.close()
    assert device.live == 0


def test_enough_queries_are_made_when_time_is_up(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    loaded = engine.load(built(fake, doubling))
    feeds = {"x": np.ones((1, 4), np.float32)}
    recorded = gpu_loop.measure(loaded, feeds, RULES["trtexec10"], Limits(0.0, 0.0, 25), 1, lambda seconds: None)
    assert len(recorded.queries) == 25


@pytest.mark.parametrize("raises", [False, True])
def test_a_loop_that_is_stopped_keeps_what_it_counted_and_one_that_breaks_off_leaves_nothing_behind(
    install: Any, doubling: Path, raises: bool
) -> None:
    fake, device = install("tensorrt-11.4.0")
    loaded = engine.load(built(fake, doubling))
    stop = threading.Event()

    def tell(seconds: float) -> None:
        if seconds > 0.05:
            stop.set()
            if raises:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) if raises else contextlib.nullcontext():
        recorded = gpu_loop.measure(
            loaded, {"x": np.ones((8, 4), np.float32)}, RULES["trtexec10"], Limits(0.02, 60, 10), 2, tell, stop
        )
        assert recorded.partial
        assert recorded.queries
    loaded.close()
    assert device.live == 0


def test_without_capture_the_loop_says_so(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt-11.4.0", captures=False)
    loaded = engine.load(built(fake, doubling))
    feeds = {"x": np.ones((1, 4), np.float32)}
    recorded = gpu_loop.measure(loaded, feeds, RULES["trtexec11"], Limits(0, 0, 3), 1, lambda seconds: None)
    assert recorded.graph is False
    assert "cannot be captured" in recorded.note


def test_a_captured_slot_replays_until_its_shape_changes(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    loaded = engine.load(built(fake, doubling))
    slot, tray, stream = Slot(loaded), Tray(loaded), device.stream()
    tray.fill({"x": np.ones((2, 4), np.float32)})
    slot.fit(tray, stream)
    slot.compute(stream)
    assert slot.capture() == ""
    slot.compute(stream)
    assert slot.replays
    assert device.launches == 1
    tray.fill({"x": np.ones((3, 4), np.float32)})
    slot.fit(tray, stream)
    slot.compute(stream)
    assert not slot.replays
    assert device.launches == 1
    for part in (slot, tray, stream):
        part.close()
    assert device.live == 0


def test_a_runner_captures_what_it_runs_again(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    for number, launches in ((1, 0), (2, 1), (3, 2)):
        x = np.full((2, 4), number, np.float32)
        assert np.array_equal(runner.run({"x": x})["y"], 2 * x)
        assert device.launches == launches
    runner.run({"x": np.ones((3, 4), np.float32)})
    assert device.launches == 2
    runner.close()
    assert device.live == 0


def test_rtx_does_not_capture_by_itself_since_that_concerns_all_threads(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt_rtx-1.5.0")
    loaded = engine.load(built(fake, doubling))
    feeds = {"x": np.ones((1, 4), np.float32)}
    recorded = gpu_loop.measure(loaded, feeds, RULES["trtexec11"], Limits(0, 0, 3), 1, lambda seconds: None)
    assert recorded.graph is True
    assert device.launches
    assert called(fake, "IRuntimeConfig.cuda_graph_strategy") == []


def test_too_little_memory_for_a_context(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, _ = install("tensorrt-11.4.0", free=1 << 10)
    monkeypatch.setattr(fake, "_context", lambda: None)
    with pytest.raises(EnvironmentProblem, match=r"out of GPU memory: 65.0 MiB needed, 1.0 KiB free"):
        open_engine(built(fake, doubling))


@pytest.mark.parametrize(("rules", "asleep"), [("trtexec10", 1), ("trtexec11", 0)])
def test_only_an_event_that_is_waited_for_interrupts_the_host(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch, rules: str, asleep: int
) -> None:
    """One that can be slept for does, whenever it is reached, whether anybody waits or not."""
    fake, device = install("tensorrt_rtx-1.5.0")
    loaded = engine.load(built(fake, doubling))
    made: list[bool] = []
    event = device.event
    monkeypatch.setattr(device, "event", lambda *, spin=True: made.append(spin) or event(spin=spin))
    given = dataclasses.replace(RULES[rules], depth=2)
    gpu_loop.measure(loaded, {"x": np.ones((1, 4), np.float32)}, given, Limits(0, 0, 3), 1, lambda seconds: None)
    origin = 1 if asleep else 0
    assert made.count(False) == 2 * asleep + origin
    assert len(made) == 2 * 6 + 1


@pytest.mark.parametrize(("free", "kind"), [(40 << 20, OutOfMemory), (1 << 30, EnvironmentProblem)])
def test_a_context_without_memory_for_its_streams_is_short_of_memory(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: type[Exception]
) -> None:
    """Its activations would fit; TensorRT says "Cuda Runtime (In ScopedCudaStream", which could be anything."""
    fake, _ = install("tensorrt_rtx-1.5.0", free=free)
    monkeypatch.setattr(fake, "_context", lambda: None)
    with pytest.raises(EnvironmentProblem) as caught:
        open_engine(built(fake, doubling))
    assert type(caught.value) is kind


def test_without_memory_for_a_graph_runs_go_on(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, device = install("tensorrt_rtx-1.5.0")
    runner = open_engine(built(fake, doubling))
    x = np.ones((2, 4), np.float32)
    runner.run({"x": x})

    def none() -> None:
        raise cuda.out_of_memory(1, 0)

    monkeypatch.setattr(device, "stream", none)
    for _ in range(3):
        assert np.array_equal(runner.run({"x": x})["y"], 2 * x)
    assert not runner.replays
    runner.close()
    assert device.live == 0


def test_a_closed_engine_gives_memory_back(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, _ = install("tensorrt_rtx-1.5.0")
    loaded = engine.load(built(fake, doubling))
    given: list[bool] = []
    monkeypatch.setattr(engine.memory, "give_back", lambda: given.append(True))
    loaded.close()
    loaded.close()
    assert given == [True]


def test_the_pretended_gpu_has_the_interface() -> None:
    wanted = {name for name in vars(cuda.Device) if not name.startswith("_")}
    assert wanted <= set(dir(FakeDevice))


def test_ranges_given_reach_tensorrt(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt-10.16.1")
    built(fake, doubling, profiles=({"x": ShapeRange((2, 4), (3, 4), (4, 4))},))
    assert called(fake, "IOptimizationProfile.set_shape")[0] == {
        "input": "x",
        "min": (2, 4),
        "opt": (3, 4),
        "max": (4, 4),
    }


def strategies(fake: Fake) -> list[str]:
    """What kernels the contexts were made for, in their order."""
    return [s.name for s in called(fake, "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy")]


def test_a_few_shapes_have_contexts_of_their_own_and_all_others_share_one(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt_rtx-1.5.0")
    runner = open_engine(built(fake, doubling))
    replays = []
    for batch in (*range(1, 9), 9, 10, 9, 3, 8):
        x = np.full((batch, 4), batch, np.float32)
        assert np.array_equal(runner.run({"x": x})["y"], 2 * x)
        replays.append(runner.replays)
    assert replays == [False] * 11 + [True] * 2
    assert strategies(fake) == ["EAGER"] * 8 + ["NONE"]
    shaped = len(called(fake, "IExecutionContext.set_input_shape"))
    runner.run({"x": np.ones((3, 4), np.float32)})
    assert len(called(fake, "IExecutionContext.set_input_shape")) == shaped == 11
    runner.close()
    assert device.live == 0


def test_the_same_shape_has_the_same_kernels_in_every_runner(install: Any, doubling: Path) -> None:
    """Other kernels give other last bits: which ones serve a shape must not depend on who runs it first."""
    fake, device = install("tensorrt_rtx-1.5.0")
    runner = open_engine(built(fake, doubling))
    fork = runner.fork()
    for each, batches in ((runner, range(1, 10)), (fork, range(9, 0, -1))):
        for batch in batches:
            each.run({"x": np.ones((batch, 4), np.float32)})
    assert sorted(strategies(fake)) == ["EAGER"] * 16 + ["NONE"] * 2
    fork.close()
    runner.close()
    assert device.live == 0


def test_a_graph_has_the_copies_in_it_until_a_tensor_moves(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    for batch, launches in ((2, 0), (2, 1), (2, 2), (4, 2), (2, 3), (2, 4), (4, 5)):
        x = np.random.default_rng(launches).normal(size=(batch, 4)).astype(np.float32)
        assert np.array_equal(runner.run({"x": x})["y"], 2 * x)
        assert device.launches == launches
    runner.close()
    assert device.live == 0


def test_after_ctrl_c_in_a_query_of_another_shape_the_next_one_is_right(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    x, other = np.ones((2, 4), np.float32), np.ones((3, 4), np.float32)
    for _ in range(3):  # by then a query like the last one is one launch
        runner.run({"x": x})

    def broken_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Slot, "fit", broken_off)
        with pytest.raises(KeyboardInterrupt):
            runner.run({"x": other})
    assert np.array_equal(runner.run({"x": 3 * x})["y"], 6 * x)
    runner.close()


def test_a_context_whose_shape_keeps_changing_is_made_anew(install: Any, doubling: Path) -> None:
    """TensorRT-RTX keeps memory at every change, until the context goes."""
    fake, device = install("tensorrt_rtx-1.5.0")
    fake.depth = 250
    runner = open_engine(built(fake, doubling))
    for batch in [*range(1, 9), *[9, 10] * 100]:
        x = np.full((batch, 4), batch, np.float32)
        assert np.array_equal(runner.run({"x": x})["y"], 2 * x)
    assert strategies(fake)[8:] == ["NONE"] * 4
    runner.close()
    assert device.live == 0


def test_where_memory_is_short_shapes_share_contexts(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt_rtx-1.5.0", free=4 << 20)  # a context takes 1 MiB
    runner = open_engine(built(fake, doubling))
    for batch in (1, 2, 3, 1, 2):
        x = np.full((batch, 4), batch, np.float32)
        assert np.array_equal(runner.run({"x": x})["y"], 2 * x)
    assert strategies(fake) == ["EAGER", "NONE"]
    runner.close()
    assert device.live == 0


def test_rtx_enqueues_one_run_at_a_time(install: Any, doubling: Path) -> None:
    """Two threads inside one engine's enqueue crash TensorRT-RTX."""
    inside, most = 0, 0

    def slow(x: np.ndarray) -> np.ndarray:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.001)
        inside -= 1
        return 2 * x

    fake, _ = install("tensorrt_rtx-1.5.0")
    fake.model = slow
    runner = open_engine(built(fake, doubling))
    with runner_threads.forks(runner, 4) as runners:
        done: list[int] = []
        feeds = {"x": np.ones((2, 4), np.float32)}
        runner_threads.in_order(runners, range(40), lambda r, n: n + int(r.run(feeds)["y"][0, 0]) - 2, done.append)
    runner.close()
    assert done == list(range(40))
    assert most == 1


def test_layers_are_measured_in_runs_of_their_own(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt_rtx-1.5.0")
    loaded = engine.load(built(fake, doubling))
    found = layers.measure(loaded, {"x": np.ones((2, 4), np.float32)})
    assert [(layer.name, layer.ms) for layer in found] == [("conv", 2.0), ("relu", 0.5)]
    assert device.live == 0


def test_tuning_finds_the_most_throughput_and_keeps_the_limit(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    loaded = engine.load(built(fake, doubling))
    feeds = {batch: {"x": np.ones((batch, 4), np.float32)} for batch in (1, 8)}
    tried: list[tune.Trial] = []
    ready: list[int] = []
    winners = tune.search(loaded, feeds, None, tried.append, lambda: ready.append(device.live))
    assert {trial.batch for trial in winners} == {1, 8}
    for winner in winners:
        assert winner.throughput == max(trial.throughput for trial in tried if trial.batch == winner.batch)
    assert {(1, 1), (1, 2)} <= {(trial.streams, trial.depth) for trial in tried}
    assert {trial.graph for trial in tried} == {True, False}
    assert len(ready) == len(tried)
    with pytest.raises(
        UsageError, match=r"no setting keeps a latency of 1e-06 ms: the fastest takes [0-9.]+ ms at batch"
    ):
        tune.search(loaded, feeds, 1e-6, tried.append)
    assert device.live == 0


def test_bench_of_an_engine_tells_memory_layers_and_the_tuned_settings(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    path = built(fake, doubling)
    request = BenchRequest(
        path, batches=(2,), warmup=0.0, duration=0.05, tune=True, layers=True, repeats=3, against=("onnxruntime",)
    )
    result = bench(request, ignore)
    (measured,) = result.measurements
    assert len(measured.repeats) == 3
    assert sorted(measured.repeats)[1] == measured.throughput
    assert measured.layers == (("conv", 2.0), ("relu", 0.5))
    assert result.memory is not None
    assert result.memory_parts["contexts"] > 0
    assert result.memory == result.memory_parts["engine"] + result.memory_parts["contexts"]
    assert yaml.safe_load(result.tuned)["infer"]["contexts"] == measured.streams * measured.depth
    assert [rival.name for rival in result.rivals] == ["this", "onnxruntime"]
    assert any("no power" in note for note in result.notes)
    assert device.live == 0


@pytest.mark.parametrize("record", ALL)
def test_a_context_outlives_its_configuration_nowhere(install: Any, doubling: Path, record: str) -> None:
    """Choosing a profile reads the configuration again; TensorRT-RTX 1.5 crashes where Python has let it go."""
    fake, _ = install(record)
    made: list[weakref.ref[Any]] = []
    original = fake._runtime_config

    def config() -> Any:
        found = original()
        made.append(weakref.ref(found))
        return found

    fake._runtime_config = config  # type: ignore[method-assign]
    runner = open_engine(built(fake, doubling))
    for batch in (8, 64):  # of both profiles
        runner.run({"x": np.ones((batch, 4), np.float32)})
        fake.calls.clear()  # it holds every argument
        gc.collect()
        assert made
        assert all(reference() is not None for reference in made)
    runner.close()

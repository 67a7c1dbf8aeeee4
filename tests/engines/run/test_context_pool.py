"""Contexts that several threads share, on a pretended GPU."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.test_recorded_apis import built, called, strategies
from trtconv.core.errors import EnvironmentProblem, OutOfMemory, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec
from trtconv.engines.run import runner_threads
from trtconv.engines.run.context_pool import Pool, PooledRunner, _Flight
from trtconv.engines.run.host_buffers import Tray
from trtconv.engines.run.runner import Runner, open_engine
from trtconv.stages.infer import InferRequest, infer

USUAL, OTHER = {"x": (8, 4)}, {"x": (5, 4)}


def doubled(runner: Runner, batch: int) -> bool:
    x = np.full((batch, 4), batch, np.float32)
    return np.array_equal(runner.run_filled({"x": x.shape}, lambda host: np.copyto(host["x"], x))["y"], 2 * x)


@pytest.mark.parametrize("record", ["tensorrt-11.4.0", "tensorrt_rtx-1.5.0"])
def test_more_threads_than_contexts_get_their_own_results_in_order(install: Any, doubling: Path, record: str) -> None:
    fake, device = install(record)
    runner = open_engine(built(fake, doubling))
    made = len(called(fake, "ICudaEngine.create_execution_context"))
    done: list[bool] = []
    with runner_threads.workers(runner, 3, USUAL, USUAL, OTHER) as team:
        assert team.contexts == 4  # three for the usual shape, one for others
        assert len(team.runners) > 3
        items = [8] * 60 + [5, 3, 8, 1]
        runner_threads.in_order(team.runners, items, doubled, done.append)
    assert done == [True] * 64
    assert len(called(fake, "ICudaEngine.create_execution_context")) == made + 4
    runner.close()
    assert device.live == 0
    assert device.closed


def test_the_usual_shape_has_kernels_of_its_own_before_anything_runs(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt_rtx-1.5.0")
    runner = open_engine(built(fake, doubling))
    begun = len(strategies(fake))
    with runner_threads.workers(runner, 2, USUAL, USUAL, OTHER) as team:
        ran = len(called(fake, "IExecutionContext.execute_async_v3"))
        assert ran >= 2
        assert strategies(fake)[begun:] == ["EAGER", "EAGER", "NONE"]
        assert doubled(team.runners[0], 5)
        assert doubled(team.runners[1], 8)


def test_a_captured_graph_serves_the_usual_shape(install: Any, doubling: Path) -> None:
    fake, device = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    with runner_threads.workers(runner, 1, USUAL, USUAL, None) as team:
        assert all(doubled(team.runners[0], 8) for _ in range(5))
        assert device.launches == 5
    runner.close()
    assert device.live == 0


@pytest.mark.parametrize(("layers", "anew"), [(2, False), (1000, True)])
def test_mixed_shapes_share_all_contexts(install: Any, doubling: Path, layers: int, anew: bool) -> None:
    """A change of shapes leaves host memory for every layer, a context some for good: only where the first is much."""
    fake, device = install("tensorrt_rtx-1.5.0")
    fake.depth = layers
    runner = open_engine(built(fake, doubling))
    done: list[bool] = []
    with runner_threads.workers(runner, 3, USUAL, None, OTHER) as team:
        assert strategies(fake)[-3:] == ["NONE"] * 3
        runner_threads.in_order(team.runners, [1 + n * 7 % 32 for n in range(300)], doubled, done.append)
    assert done == [True] * 300
    assert (len(strategies(fake)) > 4) == anew  # contexts were made anew on the way
    runner.close()
    assert device.live == 0


def test_a_freed_context_wakes_the_thread_that_can_use_it(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = install("tensorrt-11.4.0")
    engine = open_engine(built(fake, doubling)).engine  # type: ignore[attr-defined]
    pool = Pool(engine, 1, USUAL, OTHER)
    holds = {False: threading.Semaphore(0), True: threading.Semaphore(0)}
    begun: list[bool] = []

    def held(flight: _Flight, tray: Tray) -> None:
        begun.append(flight.general)
        assert holds[flight.general].acquire(timeout=20)

    monkeypatch.setattr(_Flight, "run", held)
    threads = []
    for shape in (USUAL, OTHER, OTHER, USUAL):  # both contexts are taken, then who wants the other kind waits first
        tray = Tray(engine)
        tray.lay(shape)
        threads.append(threading.Thread(target=pool.run, args=(tray,), daemon=True))
        threads[-1].start()
        time.sleep(0.05)
    assert begun == [False, True]
    holds[False].release(2)
    threads[3].join(5)
    assert begun == [False, True, False]
    holds[True].release(2)
    for thread in threads:
        thread.join(5)
    assert begun == [False, True, False, True]
    pool.close()


def test_fewer_contexts_where_memory_is_short(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, device = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    make, left = fake._context, iter(range(2))

    def context() -> Any:
        if next(left, None) is not None:
            return make()
        device.free = 1 << 10
        return None

    monkeypatch.setattr(fake, "_context", context)
    with runner_threads.workers(runner, 4, USUAL, USUAL, OTHER) as team:
        assert team.contexts == 2
        assert doubled(team.runners[0], 8)
        assert doubled(team.runners[1], 3)
    runner.close()
    assert device.live == 0


def test_a_context_that_fails_for_another_reason_is_an_error(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, device = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    make, left = fake._context, iter(range(2))
    monkeypatch.setattr(fake, "_context", lambda: make() if next(left, None) is not None else None)
    raised = pytest.raises(EnvironmentProblem, match="no execution context")
    with raised, runner_threads.workers(runner, 4, USUAL, USUAL, OTHER):
        pass
    runner.close()
    assert device.live == 0


def test_no_memory_for_any_context(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, device = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    device.free = 1 << 10
    monkeypatch.setattr(fake, "_context", lambda: None)
    with (
        pytest.raises(EnvironmentProblem, match=r"out of GPU memory: 65.0 MiB needed, 1.0 KiB free"),
        runner_threads.workers(runner, 4, USUAL, USUAL, OTHER),
    ):
        pass
    runner.close()
    assert device.live == 0


def test_a_batch_beyond_the_profiles_is_told_before_anything_runs(install: Any, doubling: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    runner = open_engine(built(fake, doubling))
    wide = {"x": (129, 4)}
    with (
        pytest.raises(UsageError, match="the engine was built for"),
        runner_threads.workers(runner, 2, wide, wide, None),
    ):
        pass


def test_infer_on_a_pretended_gpu(install: Any, doubling: Path, tmp_path: Path) -> None:
    fake, device = install("tensorrt_rtx-1.5.0")
    path = built(fake, doubling)
    x = np.random.default_rng(0).standard_normal((45, 4), np.float32)
    np.save(tmp_path / "x.npy", x)
    threads = threading.active_count()
    result = infer(InferRequest(path, FeedSpec(tmp_path / "x.npy"), tmp_path / "y.npz", batch=8, contexts=2), ignore)
    assert np.array_equal(np.load(tmp_path / "y.npz")["y"], 2 * x)
    assert (result.samples, result.contexts, result.fell_back) == (45, 3, "")
    assert result.preparing > 0
    assert threading.active_count() == threads
    assert device.live == 0


@pytest.mark.parametrize("fails_at", ["event", "memory", "pinned"])
def test_fewer_contexts_are_made_where_memory_ends_on_the_way(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    """A context that was made takes more until it is ready: memory may end there, too."""
    fake, device = install("tensorrt_rtx-1.5.0")
    runner = open_engine(built(fake, doubling))
    take, left = getattr(device, fails_at), [{"event": 7, "memory": 5, "pinned": 1}[fails_at]]

    def taken(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OutOfMemory("no memory")
        return take(*arguments, **named)

    monkeypatch.setattr(device, fails_at, taken)
    if fails_at == "pinned":  # it is the first that finds none
        with pytest.raises(OutOfMemory):
            Pool(runner.engine, 3, USUAL, None)
    else:
        pool = Pool(runner.engine, 3, USUAL, None)
        assert len(pool) == 2
        pool.close()
    monkeypatch.undo()
    runner.close()
    assert device.live == 0


def test_a_runner_that_finds_no_memory_keeps_none(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, device = install("tensorrt_rtx-1.5.0")
    runner = open_engine(built(fake, doubling))
    pool = Pool(runner.engine, 1, USUAL, None)
    before, take, given = device.live, device.pinned, []

    def pinned(size: int) -> Any:
        if given:
            raise EnvironmentProblem("no memory")
        given.append(size)
        return take(size)

    monkeypatch.setattr(device, "pinned", pinned)
    with pytest.raises(EnvironmentProblem, match="no memory"):
        PooledRunner(pool, "")
    assert given
    assert device.live == before
    pool.close()
    runner.close()

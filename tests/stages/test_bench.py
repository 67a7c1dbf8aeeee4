"""Measurements on the CPU: the same request and result as on a GPU, and said to be what they are."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests import networks
from tests.engines.models import conv_net, images
from trtconv.core.errors import UsageError
from trtconv.core.events import Event, Progress, ignore
from trtconv.core.records import FeedSpec
from trtconv.stages.bench import BenchRequest, Measurement, bench, figures, work


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_net(tmp_path / "net.onnx")


@pytest.mark.parametrize("semantics", ["trtexec10", "trtexec11", "app"])
def test_every_semantics_measures_and_says_what_did_not_apply(model: Path, semantics: str) -> None:
    events: list[Event] = []
    request = BenchRequest(model, batches=(1, 4), semantics=semantics, warmup=0.01, duration=0.1, percentiles=(50, 99))
    result = bench(request, events.append)
    assert result.semantics == semantics
    assert result.runner.endswith("on CPU")
    assert [m.batch for m in result.measurements] == [1, 4]
    assert result.conditions == {"clock": "host", "transfers": False, "wait": "call", "depth": 1, "streams": 1}
    assert any("measured on the CPU" in note for note in result.notes)
    assert result.memory is None
    for measured in result.measurements:
        low, high = measured.latency_ms["min"], measured.latency_ms["max"]
        assert 0 < low <= measured.latency_ms["p50"] <= measured.latency_ms["p99"] <= high
        assert measured.compute_ms is measured.h2d_ms is measured.enqueue_ms is None
        assert measured.queries >= 10
    assert {event.label for event in events if isinstance(event, Progress)} == {"batch 1", "batch 4"}


def test_throughput_is_samples_over_the_wall_time(model: Path) -> None:
    """One stream, one query at a time: throughput times mean latency is close to the batch, and never above it."""
    measured = bench(BenchRequest(model, batches=(8,), warmup=0.05, duration=0.4), ignore).measurements[0]
    busy = measured.throughput * measured.latency_ms["mean"] / 1e3 / 8
    assert 0.7 < busy <= 1.0 + 1e-6


@pytest.mark.parametrize(("moment", "whole"), [(0.0, [1]), (0.15, [1, 2])])
def test_ctrl_c_keeps_what_was_measured_before(model: Path, moment: float, whole: list[int]) -> None:
    """In the warm-up of the second batch size, and when it counts already; the first one stays as it is."""
    pressed: list[bool] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.label == "batch 2" and event.done >= moment and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)

    result = bench(BenchRequest(model, batches=(1, 2, 4), warmup=0.1, duration=0.3), listen)
    assert result.partial
    assert [m.batch for m in result.measurements] == whole
    assert [m.partial for m in result.measurements] == [False, True][: len(whole)]
    assert any("partial: interrupted" in note for note in result.notes)


def test_ctrl_c_after_a_measurement_ended_loses_nothing_of_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summed_up = figures.measurement

    def interrupted(*arguments: Any, **options: Any) -> Measurement:
        signal.raise_signal(signal.SIGINT)
        return summed_up(*arguments, **options)

    monkeypatch.setattr(figures, "measurement", interrupted)
    result = bench(BenchRequest(model, batches=(1, 2), warmup=0.0, duration=0.05, repeats=3), ignore)
    assert [(m.batch, m.partial, len(m.repeats)) for m in result.measurements] == [(1, False, 1)]
    assert result.partial


def test_ctrl_c_while_others_are_measured_leaves_them_out(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressing(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(work.Bench, "compared", pressing)
    result = bench(BenchRequest(model, batches=(1,), duration=0.05, against=("onnxruntime",)), ignore)
    assert result.partial
    assert result.rivals == ()
    assert len(result.measurements) == 1


def test_random_values_that_a_model_refuses_are_told_as_such(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    ends = ([networks.value("rows", ["n", 16], onnx.TensorProto.INT64)], [networks.value("y", ["n", 16, 8])])
    onnx.save(
        networks.model([networks.node("Gather", "table rows", "y")], *ends, {"table": table}), tmp_path / "m.onnx"
    )
    request = BenchRequest(tmp_path / "m.onnx", batches=(2,), warmup=0.0, duration=0.01)
    assert bench(request, ignore).measurements  # of rows that the table has
    nodes = [networks.node("Mod", "rows two", "odd"), networks.node("Gather", "table odd", "y")]
    nodes[0].attribute.append(onnx.helper.make_attribute("fmod", 1))
    two = np.array(200, np.int64)  # whatever is left of a division by that may be a row, for all that the graph says
    onnx.save(networks.model(nodes, *ends, {"table": table, "two": two}), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="Gather") as caught:
        bench(request, ignore)
    assert "--data" in caught.value.hint
    np.save(tmp_path / "rows.npy", np.ones((4, 16), np.int64))
    command = [
        sys.executable,
        "-m",
        "trtconv",
        "bench",
        tmp_path / "m.onnx",
        "--batch",
        "2",
        "--duration",
        "10ms",
        "--json",
    ]
    done = subprocess.run([*command, "--data", tmp_path / "rows.npy"], capture_output=True, check=True)
    assert json.loads(done.stdout)["bench"]["measurements"][0]["batch"] == 2


def test_enough_iterations_count_even_without_time(model: Path) -> None:
    request = BenchRequest(model, batches=(1,), warmup=0.0, duration=0.0, iterations=17)
    assert bench(request, ignore).measurements[0].queries == 17


def test_real_samples_must_fill_the_batch(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=images(5))
    data = FeedSpec(tmp_path / "data.npz")
    bench(BenchRequest(model, batches=(5,), data=data, warmup=0, duration=0), ignore)
    with pytest.raises(UsageError, match="batch of 6 was asked for, and there are 5 samples"):
        bench(BenchRequest(model, batches=(6,), data=data), ignore)


def test_unknown_semantics(model: Path) -> None:
    with pytest.raises(UsageError, match="unknown semantics 'trtexec12'"):
        bench(BenchRequest(model, semantics="trtexec12"), ignore)


@pytest.mark.rtx
def test_a_batch_beyond_the_profile_is_refused_before_measuring(model: Path, tmp_path: Path) -> None:
    from trtconv.stages.build import BuildRequest, build

    build(BuildRequest(model, tmp_path / "net.engine", backend="rtx"), ignore)
    with pytest.raises(UsageError, match=r"\[33, 3, 16, 16\]; the engine was built for \[1, .*\] to \[32, ") as raised:
        bench(BenchRequest(tmp_path / "net.engine", batches=(1, 33)), ignore)
    assert raised.value.exit_code == 2


@pytest.mark.rtx
def test_without_a_batch_the_profiles_is_measured(model: Path, tmp_path: Path) -> None:
    from trtconv.stages.build import BuildRequest, build

    build(BuildRequest(model, tmp_path / "net.engine", backend="rtx"), ignore)
    result = bench(BenchRequest(tmp_path / "net.engine", warmup=0, duration=0), ignore)
    assert [measured.batch for measured in result.measurements] == [8]


def test_changed_rules_carry_their_change_in_the_name(model: Path) -> None:
    same = {"transfers": True, "graph": None}
    request = BenchRequest(model, batches=(1,), semantics="trtexec10", warmup=0, duration=0, rules=same)
    assert bench(request, ignore).semantics == "trtexec10"
    changed = bench(BenchRequest(model, semantics="trtexec10", warmup=0, duration=0, rules={"graph": True}), ignore)
    assert changed.semantics == "trtexec10(graph=on)"


def test_walltime_holds_all_queries(model: Path) -> None:
    measured = bench(BenchRequest(model, batches=(2,), warmup=0.01, duration=0.1), ignore).measurements[0]
    assert measured.wall == pytest.approx(2 * measured.queries / measured.throughput)
    assert measured.parts_ms == {}  # on the CPU there is only the latency

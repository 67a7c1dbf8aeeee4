"""The source's own framework beside engines: who gets ready, who is measured, and what is said of who cannot be.

A made-up framework doubles its inputs; PyTorch itself is in tests/sources/pytorch/test_timing.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trtconv import sources
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, ShapeRange, SourceSpec, TensorInfo
from trtconv.sources.records import Prepared, Way
from trtconv.stages.bench.framework import framework
from trtconv.stages.bench.framework_records import FrameworkRequest
from trtconv.stages.bench.records import BenchRequest

log: list[str] = []


class Doubling:
    """A framework whose runs take 2 ms at batch 1, and which fails where a test says."""

    fails: tuple[str, ...] = ()
    absent = ""
    fed: Mapping[str, np.ndarray]

    def __init__(self, spec: SourceSpec, device: str, emit: Any) -> None:
        self.framework = self.device = self.uuid = self.problem = ""

    def look(self) -> None:
        self.framework, self.device, self.problem = "Doubling 1.0", "made-up chip", self.absent

    def lacks(self, precision: str) -> str:
        return "" if precision == "fp16" else f"no {precision} form"

    def prepare(self, way: Way, feeds: Mapping[str, np.ndarray]) -> Prepared:
        (x,) = feeds.values()
        log.append(f"prepare {way.name} {len(x)}")
        if way.name in self.fails:
            raise EnvironmentProblem("torch.compile fails: no compiler\nmore of it", hint="")
        type(self).fed = feeds
        self.batch, wanted = len(x), 2 * x
        noise = 1e-3 if way.precision == "fp16" else 0.0
        return Prepared({"y": wanted}, {"y": wanted * (1 + noise)}, {"tf32": False}, ("a note",))

    def measure(
        self, rules: Mapping[str, bool], limits: tuple[float, float, int], begun: Callable[[], None]
    ) -> tuple[list[tuple[float, float, float]], int | None]:
        log.append(f"measure {self.batch}")
        begun()
        took = 2.0 * self.batch
        return [(at * took, (at + 1) * took, took) for at in range(5)], 1 << 20

    def close(self) -> None:
        log.append("close")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> FrameworkRequest:
    log.clear()
    monkeypatch.setattr(Doubling, "fails", ())
    monkeypatch.setattr(Doubling, "absent", "")
    monkeypatch.setattr(sources, "of", lambda spec: SimpleNamespace(times=f"{__name__}:Doubling"))
    return FrameworkRequest(
        source=SourceSpec(Path("nets:net")),
        precision="fp16",
        names=("pytorch", "pytorch-compiled"),
        inputs=(TensorInfo("x", "float", ("batch", 6)),),
        profiles={},
        first=(),
        device="cpu",
        bench=BenchRequest(Path("nets:net"), batches=(1, 4), warmup=0.0, duration=0.0),
    )


def test_every_way_is_measured_alone_after_all_of_a_wave_are_ready(asked: FrameworkRequest) -> None:
    result = framework(asked, ignore)
    assert [(run.name, run.batch, run.problem) for run in result.runs] == [
        ("pytorch", 1, ""),
        ("pytorch", 4, ""),
        ("pytorch-compiled", 1, ""),
        ("pytorch-compiled", 4, ""),
    ]
    assert log.count("close") >= 4
    first = [line.split()[0] for line in log[:2]]
    assert first in (["prepare", "prepare"], ["prepare", "measure"])  # one processor makes waves of one
    for run in result.runs:
        assert run.measurement is not None
        assert run.measurement.latency_ms["median"] == 2.0 * run.batch
        assert run.measurement.throughput == pytest.approx(500.0)
        assert run.runner == "Doubling 1.0 on made-up chip"
        assert run.memory == 1 << 20
        assert run.conditions == {"clock": "host", "transfers": False, "tf32": False}
        assert run.outputs[0].snr_db == pytest.approx(20 * math.log10(1e3), abs=0.01)
        assert run.agreement == 100.0
        assert run.notes == ("a note",)


def test_what_fails_is_a_row_with_its_reason(asked: FrameworkRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doubling, "fails", ("pytorch-compiled",))
    runs = framework(asked, ignore).runs
    assert [run.problem for run in runs] == ["", ""] + 2 * ["torch.compile fails: no compiler"]
    assert [run.measurement is None for run in runs] == [False, False, True, True]


def test_a_machine_without_it_is_asked_once(asked: FrameworkRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doubling, "absent", "no GPU that PyTorch can use")
    runs = framework(asked, ignore).runs
    assert [run.problem for run in runs] == 4 * ["no GPU that PyTorch can use"]
    assert log == ["close"]


def test_a_precision_that_it_lacks(asked: FrameworkRequest) -> None:
    runs = framework(replace(asked, precision="int8"), ignore).runs
    assert [run.problem for run in runs] == 4 * ["no int8 form"]
    assert {run.runner for run in runs} == {"Doubling 1.0 on made-up chip"}
    assert log == ["close"]


def test_it_gets_the_samples_of_the_measurement(asked: FrameworkRequest, tmp_path: Path) -> None:
    samples = np.arange(30, dtype=np.float32).reshape(5, 6)
    np.save(tmp_path / "x.npy", samples)
    bench = replace(asked.bench, data=FeedSpec(tmp_path / "x.npy"), batches=(4,))
    framework(replace(asked, bench=bench), ignore)
    assert (Doubling.fed["x"] == samples[:4]).all()
    with pytest.raises(UsageError, match="a batch of 8 was asked for, and there are 5 samples"):
        framework(replace(asked, bench=replace(bench, batches=(8,))), ignore)


def test_other_dimensions_are_those_of_the_profile_and_channels_last_as_the_source_has_them(
    asked: FrameworkRequest,
) -> None:
    inputs = (TensorInfo("x", "float", ("batch", 3, "height", 8)),)
    profile = {"x": ShapeRange((1, 3, 4, 8), (4, 3, 6, 8), (4, 3, 9, 8))}
    wanted = replace(asked, inputs=inputs, profiles={4: (profile,)}, first=("x",))
    framework(replace(wanted, bench=replace(asked.bench, batches=(4,))), ignore)
    assert Doubling.fed["x"].shape == (4, 6, 8, 3)

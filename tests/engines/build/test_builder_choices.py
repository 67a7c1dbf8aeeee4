"""The builder's choices, and what an engine tells of itself, on objects that have the recorded names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.engines.test_recorded_apis import ALL, RTX, TENSORRT, built, called
from trtconv.adapters.cuda_driver import Gpu
from trtconv.adapters.tensorrt import FLAVORS, load
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, ShapeRange
from trtconv.engines.plan import header, preflight
from trtconv.stages.bench import BenchRequest, Exports, bench


@pytest.mark.parametrize("record", TENSORRT)
def test_choices_reach_tensorrt(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    built(fake, doubling, level=0, hardware="ampere+", verbosity="detailed")
    assert called(fake, "IBuilderConfig.builder_optimization_level") == [0]
    assert called(fake, "IBuilderConfig.hardware_compatibility_level") == [fake.HardwareCompatibilityLevel.AMPERE_PLUS]
    assert called(fake, "IBuilderConfig.profiling_verbosity") == [fake.ProfilingVerbosity.DETAILED]


@pytest.mark.parametrize("record", ALL)
def test_without_choices_tensorrt_keeps_its_own(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    built(fake, doubling)
    chosen = ("builder_optimization_level", "hardware_compatibility_level")
    assert [name for name in chosen if called(fake, f"IBuilderConfig.{name}")] == []
    assert called(fake, "IBuilderConfig.profiling_verbosity") == [fake.ProfilingVerbosity.DETAILED]  # for the proof
    fake.calls.clear()
    built(fake, doubling, verbosity="names")
    assert called(fake, "IBuilderConfig.profiling_verbosity") == []


@pytest.mark.parametrize("record", ALL)
def test_ranges_of_values_reach_the_profile(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    model = onnx.load(doubling)
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.INT64, [2]))
    onnx.save(model, doubling)
    fake.shape_inputs = {"s": (2,)}
    span = {"s": ShapeRange((1, 4), (8, 4), (16, 4))}
    with pytest.raises(UsageError, match="the values of input 's' decide shapes"):
        built(fake, doubling)
    built(fake, doubling, values=(span, span))
    given = {"input": "s", "min": (1, 4), "opt": (8, 4), "max": (16, 4)}
    assert called(fake, "IOptimizationProfile.set_shape_input") == [given, given]
    shape = {"input": "x", "min": (1, 4), "opt": (8, 4), "max": (32, 4)}
    assert called(fake, "IOptimizationProfile.set_shape") == [shape, shape]


@pytest.mark.parametrize("record", RTX)
@pytest.mark.parametrize(
    ("choice", "name"), [({"level": 3}, "optimization_level"), ({"hardware": "ampere+"}, "hardware_compatibility")]
)
def test_rtx_refuses_choices_that_would_change_nothing(
    install: Any, doubling: Path, record: str, choice: dict[str, Any], name: str
) -> None:
    fake, _ = install(record)
    with pytest.raises(UsageError, match=rf"build\.{name} changes nothing"):
        built(fake, doubling, **choice)
    built(fake, doubling, verbosity="none")
    assert called(fake, "IBuilderConfig.profiling_verbosity")[-1] == fake.ProfilingVerbosity.NONE


@pytest.mark.parametrize(("hardware", "doubted"), [("ampere+", False), ("none", True)])
def test_an_engine_for_ampere_and_later_is_not_doubted_there(
    install: Any, doubling: Path, hardware: str, doubted: bool
) -> None:
    fake, _ = install("tensorrt-10.16.1")
    path = built(fake, doubling, hardware=hardware)
    other = Gpu(0, "NVIDIA L4", (8, 9), 24 << 30, False)
    said = preflight.doubts(path, header.read(path), load(FLAVORS["tensorrt"].name), other)
    assert ("it was built on NVIDIA H200, and this is NVIDIA L4" in said) == doubted


@pytest.mark.parametrize("record", ALL)
@pytest.mark.parametrize("semantics", ["trtexec10", "trtexec11"])
def test_files_of_a_measurement(install: Any, doubling: Path, tmp_path: Path, record: str, semantics: str) -> None:
    fake, _ = install(record)
    path = built(fake, doubling)
    np.save(tmp_path / "x.npy", np.arange(32, dtype=np.float32).reshape(8, 4))
    files = Exports(*(tmp_path / f"{name}.json" for name in ("times", "outputs", "profile", "layers")))
    request = BenchRequest(
        path,
        batches=(8,),
        warmup=0.0,
        duration=0.02,
        semantics=semantics,
        data=FeedSpec(tmp_path / "x.npy"),
        exports=files,
    )
    result = bench(request, ignore)
    queries = json.loads((tmp_path / "times.json").read_text())
    assert len(queries) == result.measurements[0].queries
    for query in queries:
        assert query["endComputeMs"] - query["startComputeMs"] == pytest.approx(query["computeMs"])
        parts = query["h2dMs"] + query["computeMs"] + query["d2hMs"]
        assert query["latencyMs"] == pytest.approx(parts)
        marks = [
            query[mark]
            for mark in ("startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs")
        ]
        assert marks == pytest.approx(sorted(marks), abs=1e-9)
    (output,) = json.loads((tmp_path / "outputs.json").read_text())
    assert output == {"name": "y", "dimensions": "8x4", "values": [2.0 * value for value in range(32)]}
    count, *layers = json.loads((tmp_path / "profile.json").read_text())
    assert [(row["name"], row["medianMs"], row["averageMs"], row["percentage"]) for row in layers] == [
        ("conv", 2.0, pytest.approx(2.0), pytest.approx(80.0)),
        ("relu", 0.5, pytest.approx(0.5), pytest.approx(20.0)),
    ]
    assert layers[0]["timeMs"] == pytest.approx(2.0 * count["count"])
    assert json.loads((tmp_path / "layers.json").read_text()) == {"Layers": ["conv", "relu"]}
    assert called(fake, "EngineInspector.get_engine_information") == [{"format": fake.LayerInformationFormat.JSON}]


def test_without_an_engine_there_are_no_layers_to_tell_of(doubling: Path, tmp_path: Path) -> None:
    request = BenchRequest(doubling, duration=0.0, exports=Exports(layers=tmp_path / "layers.json"))
    with pytest.raises(EnvironmentProblem, match="only an engine on a GPU tells of its layers"):
        bench(request, ignore)
    assert not (tmp_path / "layers.json").exists()

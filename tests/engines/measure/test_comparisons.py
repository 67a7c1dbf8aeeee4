"""What an engine can be compared with."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from trtconv.core.errors import MissingPackage, UsageError
from trtconv.core.events import ignore
from trtconv.engines.measure.comparisons import open_rival
from trtconv.engines.run.runner import open_onnx
from trtconv.stages.bench import BenchRequest, bench

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_onnx_runtime_is_measured_in_the_same_run(doubling: Path) -> None:
    request = BenchRequest(doubling, batches=(2,), warmup=0.0, duration=0.05, against=("onnxruntime",))
    result = bench(request, ignore)
    assert [(rival.name, rival.batch) for rival in result.rivals] == [("this", 2), ("onnxruntime", 2)]
    for rival in result.rivals:
        assert rival.runner.startswith("ONNX Runtime ")
        assert rival.throughput > 0
        assert rival.throughput <= 2 / (rival.p50_ms / 1e3) * 2  # samples per second of a closed loop


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("onxruntime", "expected one of onnxruntime, pytorch:MODULE:FUNCTION"),
        ("pytorch:module", "expected one of"),
        ("pytorch:module:function", "is code, which runs only by your leave"),
    ],
)
def test_names_that_are_none(doubling: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        bench(BenchRequest(doubling, duration=0.0, against=(name,)), ignore)


def test_without_the_onnx_model(doubling: Path) -> None:
    with pytest.raises(UsageError, match="needs the ONNX model of the engine"):
        open_rival("onnxruntime", open_onnx(doubling), None, allow_code=False)


def test_pytorch_by_leave(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("rival_module")
    module.__dict__["make"] = lambda: None
    monkeypatch.setitem(sys.modules, "rival_module", module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises((MissingPackage, UsageError)):
        open_rival("pytorch:rival_module:make", open_onnx(doubling), None, allow_code=True)

"""Every method of TensorRT's network API, in a script of its own, against NumPy; and its shapes against TensorRT's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.sources.network.cases import CASES, Case
from tests.sources.network.real import Real
from trtconv.sources.network import methods, worker
from trtconv.sources.network.emit import EMITTERS
from trtconv.sources.network.kinds import KINDS


def written(case: Case, folder: Path) -> Path:
    script = folder / "net.py"
    script.write_text(case.script())
    return script


@pytest.mark.parametrize("name", CASES)
def test_method(name: str, tmp_path: Path) -> None:
    case, model = CASES[name], tmp_path / "net.onnx"
    worker.record(worker.Request(written(case, tmp_path), model))
    onnx.checker.check_model(model, full_check=True)
    feeds = case.feeds()
    results = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)
    with np.errstate(all="ignore"):
        wanted = case.expected(*feeds.values())
    wanted = [np.asarray(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
    assert [one.shape for one in results] == [one.shape for one in wanted]
    for got, want in zip(results, wanted, strict=True):
        largest = np.abs(want.astype(float)).max(initial=0.0)
        assert np.abs(got.astype(float) - want.astype(float)).max(initial=0.0) <= case.tolerance * max(largest, 1e-6)


def test_every_method_has_a_case() -> None:
    """``c`` of the scripts is add_constant; an assertion computes nothing."""
    called = "\n".join(case.script() for case in CASES.values())
    elsewhere = {"add_assertion", "add_matrix_multiply_deprecated"}
    assert [
        name
        for name in methods.METHODS
        if f"'{name[4:]}'" not in called and f".{name}(" not in called and name not in elsewhere
    ] == []


def test_every_kind_is_emitted() -> None:
    assert set(KINDS) == set(EMITTERS) == {method.kind for method in methods.METHODS.values()}


@pytest.mark.rtx(since="1.5", why="has every call of the cases")
def test_shapes_and_types_are_those_of_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every output, in every script that today's API still takes: TensorRT-RTX tells both without a GPU."""
    recorded: list[Any] = []
    finish = worker._Recorder.finish

    def finished(recorder: Any) -> Any:
        recorded.append(finish(recorder))
        return recorded[-1]

    monkeypatch.setattr(worker._Recorder, "finish", finished)
    for name, case in CASES.items():
        if case.legacy:
            continue
        worker.record(worker.Request(written(case, tmp_path), tmp_path / "net.onnx", version="10.0"))
        ours = [(tuple(tensor.shape), tensor.dtype.name) for tensor in recorded[-1][0].outputs]
        assert ours == Real(case).interface(), name
    assert len(recorded) > 150

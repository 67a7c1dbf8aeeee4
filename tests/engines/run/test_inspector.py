"""How an engine's inspector is asked: on recorded interfaces, and in a process that may crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_recorded_apis import ALL, built, called
from trtconv.core.child import ChildCrash
from trtconv.core.errors import EnvironmentProblem
from trtconv.engines.run import inspector

OPEN = '{"Layers": [{"Name": "conv", "Inputs": [{"Format/Datatype": "N/A due to dynamic shapes"}]}]}'
KNOWN = '{"Layers": [{"Name": "conv", "Inputs": [{"Format/Datatype": "Channel major FP16 format"}]}]}'


@pytest.mark.parametrize("record", ALL)
def test_who_tells_is_named(install: Any, doubling: Path, record: str) -> None:
    fake, device = install(record)
    fake.layers = KNOWN
    told = inspector.ask(built(fake, doubling))
    title = "TensorRT-RTX" if "rtx" in record else "TensorRT"
    assert (told.by, told.text, told.why) == (f"inspector of {title} {fake.version} on NVIDIA H200", KNOWN, "")
    assert device.closed


@pytest.mark.parametrize("record", ALL)
def test_types_that_wait_for_shapes_are_asked_with_those_of_the_profile(
    install: Any, doubling: Path, record: str
) -> None:
    fake, _ = install(record)
    fake.layers, fake.layers_at_first = KNOWN, OPEN
    told = inspector.ask(built(fake, doubling))
    assert inspector.layers(told.text)[0].inputs == ("float16",)
    assert called(fake, "IExecutionContext.set_input_shape")[0] == {"name": "x", "shape": (8, 4)}


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ChildCrash("a child crashed with SIGSEGV\n  | log"), "loading it here failed: a child crashed with SIGSEGV"),
        (EnvironmentProblem("m.engine does not load on NVIDIA H200: no"), "m.engine does not load on NVIDIA H200: no"),
    ],
)
def test_an_engine_that_does_not_load_is_no_answer_and_no_error(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    fake, _ = install("tensorrt_rtx-1.5.0")
    path = built(fake, doubling)

    def fail(engine: Path) -> None:
        raise error

    monkeypatch.setattr(inspector, "_aside", fail)
    assert inspector.ask(path) == inspector.Told(why=why)


def test_the_answer_comes_from_a_process_of_its_own(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the pretended TensorRT is missing: the process ends with its own reason, and this one goes on."""
    fake, _ = install("tensorrt_rtx-1.5.0")
    path = built(fake, doubling)
    monkeypatch.undo()
    monkeypatch.setattr(inspector.preflight, "preflight", lambda engine: ())
    told = inspector.ask(path)
    assert told.by == ""
    assert told.why


def test_layers_are_in_their_metadata_or_in_their_names() -> None:
    text = (
        '{"Layers": [{"Name": "l", "Metadata": "[ONNX Layer: a/b]\\u001f[ONNX Layer: c[0]]__gemm_from_conv1x1"},'
        ' "conv1 + relu1 || conv2", {"Name": "d"}]}'
    )
    assert [layer.nodes for layer in inspector.layers(text)] == [{"a/b", "c[0]"}, {"conv1", "relu1", "conv2"}, {"d"}]

"""What TensorRT-RTX says of a model's nodes before anything is built: the node, the reason, and what to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from trtconv.adapters import tensorrt
from trtconv.core import child
from trtconv.core.errors import BuildError, EnvironmentProblem
from trtconv.core.events import ignore
from trtconv.engines.build import choices, isolated, messages, support
from trtconv.stages.build import BuildRequest, build

pytestmark = pytest.mark.rtx


def saved(folder: Path, body: str, opset: int = 17, **weights: np.ndarray) -> Path:
    """A model from ONNX's text form; its nodes are called by operator."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {body}')
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    for node in model.graph.node:
        node.name = f"the_{node.op_type}"
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


SUPPRESSION = """(float[1, 9, 4] boxes, float[1, 2, 9] scores) => (int64[n, 3] chosen) {
    chosen = NonMaxSuppression(boxes, scores, most) }"""


@pytest.mark.parametrize(
    ("body", "weights", "op", "why", "remedy"),
    [
        pytest.param(
            "(float[3, 4] x) => (int64[2, n] y) { y = NonZero(x) }",
            {},
            "NonZero",
            "no operator and no plugin",
            "depends on",
            marks=pytest.mark.rtx(since="1.7", why="parses only what it builds of NonZero"),
        ),
        ("(float[3, 4] x) => (float[n] y) { y = Unique(x) }", {}, "Unique", "is not supported", "convert.outputs"),
        (
            "(float[3, 4] x) => (uint8[3, 4] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }",
            {},
            "DynamicQuantizeLinear",
            "is not supported",
            "precision: int8",
        ),
        (
            "(float[3, 4] x) => (float[3, 4] y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
            {"s": np.array(0.1, np.float32), "z": np.array(9, np.uint8)},
            "QuantizeLinear",
            "zero point",
            "precision: int8",
        ),
        (SUPPRESSION, {"most": np.array(3, np.int64)}, "NonMaxSuppression", "has no kernel for it", "on the host"),
    ],
)
def test_refusals(tmp_path: Path, body: str, weights: dict[str, np.ndarray], op: str, why: str, remedy: str) -> None:
    (refusal, *_) = support.verdict(saved(tmp_path, body, **weights), tmp_path / "log").refusals
    assert (refusal.node, refusal.op) == (f"the_{op}", op)
    assert refusal.why.startswith(f"node 'the_{op}' ({op}): ")
    assert why in refusal.why
    assert remedy in refusal.remedy


def test_what_is_said_to_have_no_kernel_does_not_build(tmp_path: Path) -> None:
    model = saved(tmp_path, SUPPRESSION, most=np.array(3, np.int64))
    with pytest.raises(BuildError, match="NonMaxSuppression"):
        build(BuildRequest(model, tmp_path / "x.engine", "typed", "rtx"), ignore)


def test_an_input_of_a_foreign_type(tmp_path: Path) -> None:
    model = saved(tmp_path, "(uint16[3, 4] x) => (uint16[3, 4] y) { y = Identity(x) }")
    (refusal,) = support.verdict(model, tmp_path / "log").refusals
    assert refusal.why == "input 'x' has a type that TensorRT does not take"
    assert "cast in the program" in refusal.remedy


def test_a_model_that_it_takes(tmp_path: Path) -> None:
    verdict = support.verdict(saved(tmp_path, "(float[3, 4] x) => (float[3, 4] y) { y = Relu(x) }"), tmp_path / "log")
    assert verdict.asked.startswith("TensorRT")
    assert verdict.refusals == ()


def test_a_crash_of_the_parser_is_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise child.ChildCrash("a child process crashed with SIGSEGV")

    monkeypatch.setattr(child, "call", crash)
    verdict = support.verdict(saved(tmp_path, "(float x) => (float y) { y = Relu(x) }"), tmp_path / "log")
    assert [refusal.why for refusal in verdict.refusals] == ["its parser crashes on this model"]
    assert "convert.outputs" in verdict.refusals[0].remedy


def test_a_crash_of_the_builder_is_a_build_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX 1.5 ends its process on RoiAlign: not an error inside of trtconv, and there is something to do."""

    def crash(*_: object, **__: object) -> None:
        raise child.ChildCrash("a child process crashed with SIGABRT", hint="a log that is gone")

    monkeypatch.setattr(child, "call", crash)
    model = saved(tmp_path, "(float[2] x) => (float[2] y) { y = Relu(x) }")
    with pytest.raises(BuildError, match=r"does not survive .*SIGABRT") as error:
        isolated.build(tensorrt.choose("rtx"), model, tmp_path / "plan", choices.Options(()), lambda _: None)
    assert "--on-refusal onnxruntime" in error.value.hint


def test_what_a_plugin_lacks_is_told_before_what_the_parser_makes_of_it() -> None:
    texts = (
        "Assertion failed: plugin != nullptr: ROIAlign plugin was not found in the plugin registry!",
        "roiAlignPlugin.cpp (161) - Cuda Error in ROIAlignV3: 35 (CUDA driver version is insufficient for CUDA ...)",
    )
    assert "NVIDIA driver" in messages.hint_for(iter(texts))
    assert "no TensorRT operator" in messages.hint_for(iter(texts[:1]))


def test_no_tensorrt_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise EnvironmentProblem("none can be used here")

    monkeypatch.setattr(child, "call", missing)
    assert support.verdict(saved(tmp_path, "(float x) => (float y) { y = Relu(x) }"), tmp_path / "log") == (
        support.Verdict()
    )


class _Error:
    """A parser's error as TensorRT-RTX hands it out."""

    def __init__(self, code: str, description: str) -> None:
        self._code, self._description = SimpleNamespace(name=code), description

    def code(self) -> SimpleNamespace:
        return self._code

    def desc(self) -> str:
        return self._description

    def node(self) -> int:
        return 4

    def node_name(self) -> str:
        return "odd"

    def node_operator(self) -> str:
        return "Quick"


@pytest.mark.parametrize(
    ("code", "description"),
    [
        ("INTERNAL_ERROR", "Op type Quick is not supported in TensorRT-RTX."),  # 1.4 and 1.5
        ("INVALID_NODE", 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'),  # 1.7
    ],
)
def test_an_unknown_operator_is_told_alike_by_all_versions(code: str, description: str) -> None:
    text = messages.parser_error(_Error(code, description))
    assert text == "node 'odd' (Quick): no operator and no plugin is called Quick"
    assert "--on-refusal onnxruntime" in messages.hint_for([text])


def test_a_build_that_asks_for_a_driver_says_so_and_noise_does_not() -> None:
    """FP8 with TensorRT-RTX 1.4; the other line follows every error on a machine without a driver."""
    asking = "IBuilder::buildSerializedNetwork: Error Code 1: Cuda Runtime (In generateForCurrent at /_src/a.cpp:187)"
    noise = "[checkMacros.cpp::catchCudaError::229] Error Code 1: Cuda Runtime (In catchCudaError at /_src/b.cpp:229)"
    assert "asks for an NVIDIA driver" in messages.hint_for([asking])
    text = messages.parser_error(_Error("INVALID_NODE", f"Invalid Node - odd\n{noise}"))
    assert text == "node 'odd' (Quick): Invalid Node - odd"
    assert messages.hint_for([text, noise]) == ""

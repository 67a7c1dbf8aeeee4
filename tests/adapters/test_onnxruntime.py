"""ONNX Runtime behind its door: names, dtypes, shapes, and errors in trtconv's words."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper, parser

from trtconv.adapters import onnxruntime
from trtconv.core.errors import EnvironmentProblem, SourceError, UsageError
from trtconv.core.records import TensorInfo

NET = '<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 2] x, int64[K] k) => (float16[batch, 2] y, int64[K] j)'


def serialized(body: str) -> bytes:
    content: bytes = parser.parse_model(f"{NET} {body}").SerializeToString()
    return content


@pytest.fixture
def session() -> onnxruntime.Session:
    return onnxruntime.session(serialized("{ y = Cast <to = 10> (x) j = Identity(k) }"), threads=1)


def test_interface_and_results(session: onnxruntime.Session) -> None:
    assert session.inputs == (TensorInfo("x", "float", ("batch", 2)), TensorInfo("k", "int64", ("K",)))
    assert session.outputs == (TensorInfo("y", "float16", ("batch", 2)), TensorInfo("j", "int64", ("K",)))
    got = session.run({"x": np.ones((3, 2), np.float32), "k": np.arange(2)})
    assert got["y"].dtype == np.float16
    np.testing.assert_array_equal(got["j"], [0, 1])
    assert onnxruntime.version()[0].isdigit()


@pytest.mark.parametrize(
    "feeds",
    [
        {"x": np.ones((3, 2), np.float32)},
        {"x": np.ones((3, 4), np.float32), "k": np.arange(2)},
        {"x": np.ones((3, 2)), "k": np.arange(2)},
    ],
)
def test_feeds_that_do_not_fit(session: onnxruntime.Session, feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match=r"ONNX Runtime refuses these inputs: [A-Z]") as caught:
        session.run(feeds)
    assert "x: float ['batch', 2]" in caught.value.hint


def test_models_that_do_not_load(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"ONNX Runtime cannot load it: .*Foo"):
        onnxruntime.session(serialized("{ y = Foo(x) j = Identity(k) }"))
    (tmp_path / "x.onnx").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SourceError, match=r"x\.onnx: not an ONNX model; it looks like a PNG image"):
        onnxruntime.session(tmp_path / "x.onnx")
    with pytest.raises(SourceError, match="no such file"):
        onnxruntime.session(tmp_path / "none.onnx")


def test_a_failure_while_running() -> None:
    net = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x, int64[K] k) => (float[M] y) { y = Gather(x, k) }'
    model = parser.parse_model(net)
    with pytest.raises(UsageError, match="indices element out of data bounds"):
        onnxruntime.session(model.SerializeToString()).run({"x": np.ones(2, np.float32), "k": np.array([7])})


def test_biases_of_quantized_convolutions_keep_their_values() -> None:
    """The runtime's own optimizer would divide this bias by the product of its scales, beyond float16's range."""
    model = parser.parse_model("""<ir_version: 9, opset_import: ["" : 19]>
        g (float16[1, 1, 2, 2] x) => (float16[1, 1, 2, 2] y) <int8 z = {0}, int8[1, 1, 1, 1] w = {100}>
        { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
          v = DequantizeLinear(w, s, z) c = Conv(d, v, b)
          r = QuantizeLinear(c, t, z) y = DequantizeLinear(r, t, z) }""")
    constants = {"s": np.float16(0.003), "t": np.float16(0.01), "b": np.ones(1, np.float16)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    x = np.full((1, 1, 2, 2), 0.3, np.float16)
    got = onnxruntime.session(model.SerializeToString()).run({"x": x})["y"]
    np.testing.assert_allclose(got, 1 + 0.3 * 0.3, rtol=5e-3)


def test_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentProblem) as caught:
        onnxruntime.version()
    assert "pip install" in caught.value.hint


def test_sequences_are_refused() -> None:
    text = NET.replace("(float16[batch, 2] y, int64[K] j)", "(seq(float[batch, 2]) parts)")
    model = parser.parse_model(f"{text} {{ parts = SequenceConstruct(x, x) }}")
    with pytest.raises(SourceError, match=r"'parts' is of type seq\(tensor\(float\)\)") as caught:
        onnxruntime.session(model.SerializeToString())
    assert "convert: {outputs: [...]}" in caught.value.hint

"""What integer inputs are for, in the graph, its loops and its branches."""

from __future__ import annotations

import pytest
from onnx import parser, shape_inference

from trtconv.core.input_use import DATA, SIZE, Use
from trtconv.graph.input_uses import input_uses

CASES = {
    "(int64[n] i, float[9, 4] t) => (float[n, 4] y) { y = Gather(t, i) }": Use("position", 9, below=True),
    "(int32[n] i, float[9, 4] t) => (float[n, k] y) { j = Cast<to = 7>(i)\n y = Gather<axis = 1>(t, j) }": Use(
        "position", 4, below=True
    ),
    "(float[n] i, float[9, 4] t) => (float[n, 4] y) { j = Cast<to = 7>(i)\n y = Gather(t, j) }": Use(
        "position", 9, below=True
    ),
    "(int64[n, 1] i, float[9] t, float[n] u) => (float[9] y) { y = ScatterND(t, i, u) }": Use(
        "position", 9, below=True
    ),
    "(int64[n] i, float[9] t, float[5] s) => (float[n] y) { a = Gather(t, i)\n b = Gather(s, i)\n y = Add(a, b) }": Use(
        "position", 5, below=True
    ),
    "(int64[2] i, float[2, 3] x) => (float[a, b] y) { y = Reshape(x, i) }": SIZE,
    "(int64[n] i, int64[n] x) => (int64[n] y) { y = Mul(x, i) }": DATA,
    "(int64[n] i) => (int64[n, 4] y) <int64 d = {4}, int64[2] v = {0, 1}> { y = OneHot(i, d, v) }": Use(
        "position", 4, below=True, above=True
    ),
    """(int64 i, float[9, 4] t) => (float[k, 4] y) <int64 m = {2}, bool c = {1}> {
      last, t2, y = Loop(m, c, i, t) <body = b (int64 n, bool k, int64 at, float[9, 4] w) =>
        (bool go, int64 next, float[9, 4] same, float[4] row) {
          go = Identity(k)  next = Identity(at)  same = Identity(w)  row = Gather(t, at) }> }""": Use(
        "position", 9, below=True
    ),
}


@pytest.mark.parametrize("text", CASES)
def test_uses(text: str) -> None:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    assert input_uses(shape_inference.infer_shapes(model))["i"] == CASES[text]

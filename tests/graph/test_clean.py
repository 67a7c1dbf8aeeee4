"""Each pass changes what it should, nothing else, and never what a model computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from trtconv.adapters import onnxruntime
from trtconv.core.errors import ConversionError
from trtconv.graph import check, clean, editing, symbolic

Weights = dict[str, np.ndarray]


def build(body: str, weights: Weights | None = None, opset: int = 17) -> onnx.ModelProto:
    """A model from ONNX's text form; random inputs fit x: float[N, 4]."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {body}')
    for name, values in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def compute(model: onnx.ModelProto, feeds: Weights) -> Weights:
    return onnxruntime.session(model.SerializeToString(), optimize=False).run(feeds)


def cleaned(model: onnx.ModelProto, feeds: Weights, passes: tuple[str, ...] | None = None) -> list[str]:
    """Operators after cleaning; the results must be the same as before."""
    before = compute(model, feeds)
    clean.prepare(model)
    clean.clean(model, passes)
    onnx.checker.check_model(model, full_check=True)
    after = compute(model, feeds)
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=1e-5, atol=1e-6)
    return [node.op_type for node in model.graph.node]


X = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("(float[N, 4] x) => (float[N, 4] y) { a = Identity(x) b = Relu(a) y = Identity(b) }", ["Relu"]),
        (
            "(float[N, 4] x) => (float[N, 4] y) { a = Relu(x) b = Identity(a) c = Identity(b) y = Identity(c) }",
            ["Relu"],
        ),
        ("(float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { y = Relu(x) z = Identity(y) }", ["Relu", "Identity"]),
        (
            "(float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { a = Relu(x) y = Identity(a) z = Identity(a) }",
            ["Relu", "Identity"],
        ),
        ("(float[N, 4] x) => (float[N, 4] y) { y = Identity(x) }", ["Identity"]),
        ("(float[N, 4] x) => (float[N, 4] y) { a, m = Dropout(x) y = Relu(a) }", ["Relu"]),
        ("(float[N, 4] x) => (float[N, 4] y) { a = Cast <to = 1> (x) y = Relu(a) }", ["Relu"]),
        ("(float[N, 4] x) => (double[N, 4] y) { a = Cast <to = 11> (x) y = Relu(a) }", ["Cast", "Relu"]),
        ("(float[N, 4] x) => (float[N, 4] y) { d = Exp(x) y = Relu(x) }", ["Relu"]),
    ],
)
def test_nodes_that_compute_nothing(body: str, left: list[str]) -> None:
    assert cleaned(build(body), X) == left


def test_a_dropout_whose_mask_is_read_stays() -> None:
    model = build("(float[N, 4] x) => (float[N, 4] y, bool[N, 4] m) { a, m = Dropout(x) y = Relu(a) }")
    assert cleaned(model, X) == ["Dropout", "Relu"]


def test_names_reach_into_subgraphs() -> None:
    model = build("""(float[N, 4] x, bool c) => (float[N, 4] y) {
        a = Identity(x)
        y = If (c) <then_branch = t () => (float[N, 4] p) { p = Relu(a) },
                    else_branch = e () => (float[N, 4] q) { q = Neg(a) }>
    }""")
    for condition in (True, False):
        assert cleaned(model, {**X, "c": np.array(condition)}) == ["If"]


def test_constants_are_folded_but_not_quantization_and_not_large_results() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    body = "(float[N, 4] x) => (float[N, 4] y) { t = Transpose(w) s = Mul(t, t) y = MatMul(x, s) }"
    assert cleaned(build(body, {"w": weight}), X) == ["MatMul"]
    body = """(float[N, 4] x) => (float[N, 4] y) { q = QuantizeLinear(w, s, z) d = DequantizeLinear(q, s, z)
              y = MatMul(x, d) }"""
    quantized = {"w": weight, "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    assert cleaned(build(body, quantized), X) == ["QuantizeLinear", "DequantizeLinear", "MatMul"]
    body = "(float[N, 4] x) => (float y) { b = Expand(w, n) s = ReduceMax <keepdims = 0> (b) m = ReduceMax <keepdims = 0> (x) y = Add(s, m) }"  # noqa: E501
    big = {"w": np.ones((1,), np.float32), "n": np.array([1 << 25], np.int64)}
    assert "Expand" in cleaned(build(body, big), X)


def test_batch_normalization_is_folded_in_double_precision() -> None:
    random = np.random.default_rng(5)
    weights = {name: random.uniform(0.5, 2, 6).astype(np.float32) for name in ("s", "b", "m", "v", "c")}
    weights["w"] = random.standard_normal((6, 2, 3, 3)).astype(np.float32)
    body = "(float[N, 4, 5, 5] x) => (float[N, 6, 3, 3] y) { a = Conv <group = 2> (x, w, c) y = BatchNormalization(a, s, b, m, v) }"  # noqa: E501
    feeds = {"x": random.standard_normal((2, 4, 5, 5)).astype(np.float32)}
    model = build(body, weights)
    assert cleaned(model, feeds) == ["Conv"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    factor = weights["s"].astype(np.float64) / np.sqrt(weights["v"].astype(np.float64) + 1e-5)
    np.testing.assert_array_equal(stored["y_weight"], (weights["w"] * factor[:, None, None, None]).astype(np.float32))
    two = body.replace("=> (float[N, 6, 3, 3] y)", "=> (float[N, 6, 3, 3] y, float[N, 6, 3, 3] a)")
    assert cleaned(build(two, weights), feeds) == ["Conv", "BatchNormalization"]


@pytest.mark.parametrize(
    ("shapes", "left"),
    [
        (((1, 6, 1, 1), (6, 1, 1)), ["Conv"]),  # per channel, as TensorFlow leaves it behind a depthwise convolution
        (((), (1,)), ["Conv"]),
        (((1, 6, 1, 1), (3,)), ["Conv", "Add"]),  # along the columns
        (((2, 1, 1, 1), (6, 1, 1)), ["Conv", "Mul", "Add"]),  # another value per sample
        (((1, 1, 6, 1, 1), (6, 1, 1)), ["Conv", "Mul", "Add"]),  # raises the rank
    ],
)
def test_scaled_and_shifted_channels_are_folded(shapes: tuple[tuple[int, ...], ...], left: list[str]) -> None:
    random = np.random.default_rng(5)
    weights = {"w": random.standard_normal((6, 1, 3, 3)).astype(np.float32)}
    weights |= {
        name: random.uniform(0.5, 2, shape).astype(np.float32) for name, shape in zip("sb", shapes, strict=True)
    }
    body = (
        "(float[2, 6, 5, 5] x) => (float[M, K, L, C, R] y) { a = Conv <group = 6> (x, w) m = Mul(s, a) y = Add(m, b) }"
    )
    if weights["s"].ndim < 5:
        body = body.replace("[M, K, L, C, R]", "[M, K, L, C]")
    feeds = {"x": random.standard_normal((2, 6, 5, 5)).astype(np.float32)}
    assert cleaned(build(body, weights), feeds) == left


R = ["Reshape"]


@pytest.mark.parametrize(
    ("body", "left", "shape"),
    [
        ("{ s = Shape(x) b = Gather(s, zero) t = Concat <axis = 0> (b, rest) y = Reshape(x, t) }", R, [0, 20]),
        ("{ s = Shape <start = 0, end = 1> (x) t = Concat <axis = 0> (s, twenty) y = Reshape(x, t) }", R, [0, 20]),
        ("{ y = Reshape(x, flat) }", R, [0, 20]),
        (
            "{ s = Shape(x) i = Cast <to = 6> (s) b = Slice(i, zero, one) r = Cast <to = 6> (rest) "
            "t = Concat <axis = 0> (b, r) u = Cast <to = 7> (t) y = Reshape(x, u) }",
            R,
            [0, 20],
        ),
        (
            "{ s = Shape(x) b = Gather(s, zero) d = Add(b, b) t = Concat <axis = 0> (d, rest) y = Reshape(x, t) }",
            ["Shape", "Gather", "Add", "Concat", "Reshape"],
            None,
        ),
    ],
)
def test_reshapes_that_follow_from_their_input(body: str, left: list[str], shape: list[int] | None) -> None:
    numbers = {"zero": [0], "one": [1], "rest": [-1], "twenty": [20], "flat": [-1, 20]}
    model = build(f"(float[N, 4, 5] x) => (float[P, Q] y) {body}", {k: np.array(v) for k, v in numbers.items()})
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)}
    assert cleaned(model, feeds) == left
    if shape is not None:
        assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == shape
        assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == ["N", 20]


@pytest.mark.parametrize(
    ("target", "source", "constant"),
    [
        (["N", -1], ("N", 3, 4), [0, 12]),
        ([-1, 12], ("N", 3, 4), [0, 12]),
        ([-1, 6], ("N", 3, 4), [-1, 6]),
        ([-1, 12], (None, 3, 4), [0, 12]),
        ([6, "N"], ("N", 2, 3), [6, -1]),
        (["M", "N"], ("N", "M"), None),
        (["N", "M", 1], ("N", "M"), [0, 0, 1]),
        ([2, 6], ("N", 12), [2, 6]),
        ([-1], (3,), [-1]),
        (["N", 0], ("N", 5), [0, 0]),
    ],
)
def test_targets(target: symbolic.Vector, source: tuple[int | str | None, ...], constant: list[int] | None) -> None:
    assert symbolic.constant_target(target, source) == constant


def test_equal_initializers_become_one_and_unused_ones_go() -> None:
    weights = {name: np.full((4, 4), value, np.float32) for name, value in (("a", 1), ("b", 1), ("c", 2), ("d", 3))}
    model = build("(float[N, 4] x) => (float[N, 4] y) { p = MatMul(x, a) q = MatMul(p, b) y = MatMul(q, c) }", weights)
    assert cleaned(model, X) == ["MatMul"] * 3
    assert [tensor.name for tensor in model.graph.initializer] == ["a", "c"]


def test_passes_can_be_chosen() -> None:
    model = build("(float[N, 4] x) => (float[N, 4] y) { d = Exp(x) a = Identity(x) y = Relu(a) }")
    assert cleaned(model, X, ("unused",)) == ["Identity", "Relu"]


def test_preparing_brings_old_forms_up_to_date() -> None:
    model = build("""(float[N, 4] x, float[4] w) => (float[N, 4] y) {
        k = Constant <value_float = 2.0> () a = Mul(x, w) y = Mul(a, k) }""")
    model.ir_version = 3
    model.graph.initializer.append(onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0]))
    assert not model.graph.initializer[0].HasField("raw_data")
    assert cleaned(model, X, ()) == ["Mul", "Mul"]
    assert model.ir_version == clean.MINIMUM_IR
    assert [value.name for value in model.graph.input] == ["x"]
    assert all(tensor.HasField("raw_data") for tensor in model.graph.initializer)
    assert all(node.name for node in model.graph.node)


@pytest.mark.parametrize("size", [(16, 12), (4, 3), (5, 4), (24, 18), (7, 11), (40, 31)])
def test_nearest_neighbours_are_said_in_half_pixels(size: tuple[int, int]) -> None:
    body = """(float[1, 1, 8, 6] x) => (float[1, 1, H, W] y) { y = Resize <coordinate_transformation_mode =
              "tf_half_pixel_for_nn", mode = "nearest", nearest_mode = "floor"> (x, , , sizes) }"""
    model = build(body, {"sizes": np.array([1, 1, *size], np.int64)})
    image = np.arange(48, dtype=np.float32).reshape(1, 1, 8, 6)
    clean.prepare(model)
    (node,) = model.graph.node
    assert editing.attribute(node, "coordinate_transformation_mode") == b"half_pixel"
    rows, columns = (np.floor((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(size, (8, 6), strict=True))
    np.testing.assert_array_equal(compute(model, {"x": image})["y"][0, 0], image[0, 0][np.ix_(rows, columns)])


def test_a_file_format_later_than_its_operators_is_lowered() -> None:
    model = build("(float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    model.ir_version = onnx.IR_VERSION
    clean.prepare(model)
    assert model.ir_version == 8  # of opset 17
    model.opset_import[0].version = 21
    clean.prepare(model)
    assert model.ir_version == 10


def test_operators_of_other_domains_only() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["ai.onnx.ml" : 3]>
        g (float[N, 4] x) => (float[N, 4] y) { y = ai.onnx.ml.Binarizer <threshold = 0.5> (x) }""")
    clean.prepare(model)
    editing.require_opset(model, 17)
    check.validate(model)
    assert editing.opset(model) == 17
    np.testing.assert_array_equal(compute(model, X)["y"], X["x"] > 0.5)


def test_inputs_that_are_no_tensors_are_named_with_their_node() -> None:
    model = build("(float[N, 4] x) => (float[N, 4] y) { y = SequenceAt(s, i) }", {"i": np.array(0, np.int64)})
    model.graph.input.append(onnx.helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, [3, 4]))
    clean.prepare(model)
    with pytest.raises(ConversionError, match=r"input 's' of node '\w+' \(SequenceAt\) is of type sequence"):
        check.require_tensors(model)


def test_inputs_of_strings_are_named_with_their_node() -> None:
    model = build("(string[N] words) => (string[N] y) { y = StringNormalizer(words) }")
    clean.prepare(model)
    with pytest.raises(ConversionError, match=r"input 'words' of node '\w+' \(StringNormalizer\) takes strings"):
        check.require_tensors(model)


@pytest.mark.parametrize(
    ("outline", "said"),
    [
        ("(float[2] x) => (float[2] y) { y = Relu(q) }", r"tensor 'q' .*node '\w+' \(Relu\) reads it"),
        ("(float[2] x) => (float[2] z) { y = Relu(x) }", r"tensor 'z' .*it is an output"),
        ("(float[2] x) => () { y = Relu(x) }", "no outputs"),
    ],
)
def test_models_that_lack_something_are_refused(outline: str, said: str) -> None:
    model = build(outline)
    clean.prepare(model)
    with pytest.raises(ConversionError, match=said) as caught:
        check.require_whole(model)
    assert caught.value.hint


def test_subgraphs_may_read_what_lies_around_them() -> None:
    model = build("""(bool c, float[2] x) => (float[2] y) {
        y = If(c) <then_branch = t () => (float[2] a) { a = Relu(x) },
                   else_branch = e () => (float[2] b) { b = Neg(x) }> }""")
    clean.prepare(model)
    check.require_whole(model)


def test_contradictions_are_reported_with_the_node() -> None:
    model = build("(float[N, 4] x) => (float[N, 2] y) { y = MatMul(x, w) }", {"w": np.ones((3, 2), np.float32)})
    clean.prepare(model)
    with pytest.raises(ConversionError, match=r"types or shapes do not fit: .*MatMul"):
        check.infer_shapes(model)

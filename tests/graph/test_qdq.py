import copy

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.networks import decibels, fully_checked, images, magnitudes, model, node, ops, residual_cnn, run, value
from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.records import KeepRules
from trtconv.graph import autocast, editing, placement, qdq, types


def normal(network):
    result = copy.deepcopy(network)
    editing.normalize(result)
    return result


def quantized(network, amax, precision="int8", base="fp32", **options):
    result = normal(network)
    plan = placement.plan(result, precision, amax=amax, **options)
    qdq.quantize(result, plan, amax, precision, base)
    types.check(fully_checked(result))
    return result, plan


def constants(network):
    return {name: editing.array(tensor) for name, tensor in editing.initializers(network.graph).items()}


def left_out(plan):
    return dict(plan.left_out)


def test_placement_in_a_residual_network():
    plan = placement.plan(normal(residual_cnn()))
    assert [one.node for one in plan.weighted] == [
        "stem_conv",
        "block0_first_conv",
        "block0_second_conv",
        "block1_first_conv",
        "block1_second_conv",
        "block1_skip_conv",
        "head",
    ]
    assert plan.left_out == ()
    # One pair per tensor; the skip branch of each Add, and never the branch that the Add fuses with; the average pool,
    # since what it makes is quantized for the head.
    assert plan.tensors == (
        "nchw",
        "stem_relu",
        "block0_first_relu",
        "block0_sum_relu",
        "block1_first_relu",
        "block1_skip",
        "block1_sum_relu",
        "flat",
    )
    assert ("block0_add", 1) in plan.edges
    assert ("block1_add", 1) in plan.edges
    assert ("GlobalAveragePool_pooled", 0) in plan.edges


def test_shared_pairs_and_only_the_wanted_readers():
    network = residual_cnn()
    made, plan = quantized(network, magnitudes(network, {"image": images(8)}))
    by_name = {one.name: one for one in made.graph.node}
    assert ops(made).count("QuantizeLinear") == len(plan.tensors) == 8
    assert ops(made).count("DequantizeLinear") == 8 + 7
    pair = by_name["block0_first_conv"].input[0]
    assert pair == by_name["block0_add"].input[1]  # the skip branch reads the same pair as the Conv
    assert by_name["block0_add"].input[0] == "block0_second"
    assert by_name["Relu_block0_sum_relu"].input[0] == "block0_sum"
    assert by_name["Flatten_flat"].input[0] == "pooled"


def test_scales_weights_and_zero_points_are_the_textbook_ones():
    network = residual_cnn()
    amax = magnitudes(network, {"image": images(8)})
    made, plan = quantized(network, amax)
    stored, before = constants(made), constants(network)
    for one in made.graph.node:
        if one.op_type == "QuantizeLinear":
            assert stored[one.input[1]] == np.float32(amax[one.input[0]]) / np.float32(127)
            assert stored[one.input[2]].dtype == np.int8
            assert stored[one.input[2]] == 0
    axes = {"stem_conv": (0, (1, 2, 3)), "head": (1, (0,))}
    for found in plan.weighted:
        if found.node in axes:
            axis, others = axes[found.node]
            scale = np.abs(before[found.weight]).max(axis=others) / 127
            np.testing.assert_allclose(stored[f"{found.weight}_scale"], scale, rtol=1e-6)
            shape = [-1 if position == axis else 1 for position in range(before[found.weight].ndim)]
            wanted = np.rint(before[found.weight] / scale.reshape(shape)).astype(np.int8)
            np.testing.assert_array_equal(stored[f"{found.weight}_quantized"], wanted)
            assert found.weight not in stored
    assert stored["stem_b"].dtype == np.float32


def test_quantizing_costs_little_accuracy():
    network, feeds = residual_cnn(), {"image": images(32)}
    amax = magnitudes(network, feeds)
    wanted = run(network, feeds)["logits"]
    made, _ = quantized(network, amax)
    assert decibels(wanted, run(made, feeds)["logits"]) > 33
    floats, _ = quantized(network, amax, "fp8")
    assert decibels(wanted, run(floats, feeds, optimize=False)["logits"]) > 25


def test_by_hand_one_convolution():
    random = np.random.default_rng(3)
    weights = random.normal(size=(16, 16, 3, 3)).astype(np.float32)
    network = model(
        [node("Conv", "x w", "y", pads=[1, 1, 1, 1])],
        [value("x", [1, 16, 5, 5])],
        [value("y", [1, 16, 5, 5])],
        {"w": weights},
    )
    x = random.normal(size=(1, 16, 5, 5)).astype(np.float32)
    made, _ = quantized(network, {"x": 2.0})

    def rounded(values, scale):
        return np.clip(np.rint(values / scale), -128, 127) * scale

    by_channel = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    reference = run(
        model(
            [node("Conv", "x w", "y", pads=[1, 1, 1, 1])],
            [value("x", [1, 16, 5, 5])],
            [value("y", [1, 16, 5, 5])],
            {"w": rounded(weights, by_channel).astype(np.float32)},
        ),
        {"x": rounded(x, np.float32(2 / 127)).astype(np.float32)},
    )
    np.testing.assert_allclose(run(made, {"x": x}, optimize=False)["y"], reference["y"], atol=1e-4)


@pytest.mark.parametrize(
    ("op", "shape", "axis", "attributes"),
    [("MatMul", (32, 48), 1, {}), ("Gemm", (32, 48), 1, {}), ("Gemm", (48, 32), 0, {"transB": 1})],
)
def test_axis_of_output_channels_of_matrices(op, shape, axis, attributes):
    random = np.random.default_rng(0)
    weights = (
        random.normal(size=shape) * 10.0 ** np.arange(shape[axis]).reshape([-1, 1] if axis == 0 else [1, -1]) ** 0.2
    )
    network = model(
        [node(op, "x w", "y", **attributes)],
        [value("x", ["n", 32])],
        [value("y", ["n", 48])],
        {"w": weights.astype(np.float32)},
    )
    made, plan = quantized(network, {"x": 4.0})
    assert plan.weighted[0].axis == axis
    assert constants(made)["w_scale"].shape == (48,)
    feeds = {"x": random.normal(size=(9, 32)).astype(np.float32)}
    assert decibels(run(network, feeds)["y"], run(made, feeds)["y"]) > 30


def test_transposed_convolution():
    weights = np.random.default_rng(0).normal(size=(16, 24, 2, 2)).astype(np.float32)
    network = model(
        [node("ConvTranspose", "x w", "y", strides=[2, 2])],
        [value("x", [1, 16, 4, 4])],
        [value("y", [1, 24, 8, 8])],
        {"w": weights},
    )
    made, plan = quantized(network, {"x": 4.0})
    assert plan.weighted[0].axis == 1
    assert constants(made)["w_scale"].shape == (24,)
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 16, 4, 4)).astype(np.float32)}
    assert decibels(run(network, feeds)["y"], run(made, feeds)["y"]) > 30


def test_fp8_leaves_transposed_convolutions():
    """Between FP8 pairs TensorRT-RTX 1.5 computes them in FP16 all the same."""
    weights = np.random.default_rng(0).normal(size=(64, 64, 2, 2)).astype(np.float32)
    network = model(
        [node("ConvTranspose", "x w", "y", "turned", strides=[2, 2])],
        [value("x", [1, 64, 4, 4])],
        [value("y", [1, 64, 8, 8])],
        {"w": weights},
    )
    _, plan = quantized(network, {"x": 4.0}, "fp8")
    assert plan.weighted == ()
    assert left_out(plan) == {"turned": "TensorRT has no fp8 ConvTranspose"}


def test_grouped_and_depthwise_convolutions():
    random = np.random.default_rng(0)
    nodes = [
        node("Conv", "x d", "a", "depthwise", group=32, pads=[1, 1, 1, 1]),
        node("ConvTranspose", "a t", "y", "grouped", group=2),
    ]
    network = model(
        nodes,
        [value("x", [1, 32, 4, 4])],
        [value("y", [1, 32, 4, 4])],
        {
            "d": random.normal(size=(32, 1, 3, 3)).astype(np.float32),
            "t": random.normal(size=(32, 16, 1, 1)).astype(np.float32),
        },
    )
    _, plan = quantized(network, {"x": 3.0, "a": 9.0})
    assert [one.node for one in plan.weighted] == ["depthwise"]
    assert "groups" in left_out(plan)["grouped"]


def attention():
    """q and k by constant weights, their product by none."""
    random = np.random.default_rng(0)
    nodes = [
        node("MatMul", "x wq", "q", "query"),
        node("MatMul", "x wk", "k", "key"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "s", "scores"),
        node("Softmax", "s", "p"),
        node("MatMul", "p x", "y", "mix"),
    ]
    weights = {name: random.normal(size=(32, 32)).astype(np.float32) / 6 for name in ("wq", "wk")}
    return model(nodes, [value("x", [2, 8, 32])], [value("y", [2, 8, 32])], weights)


def test_attention_is_left_alone():
    _, plan = quantized(attention(), {"x": 3.0})
    assert [one.node for one in plan.weighted] == ["query", "key"]
    assert plan.tensors == ("x",)
    assert left_out(plan) == dict.fromkeys(["scores", "mix"], "both operands are activations")


def test_concat_and_commuting_operators_share_one_scale():
    random = np.random.default_rng(0)
    nodes = [
        node("Conv", "x a", "left"),
        node("Conv", "x b", "right"),
        node("Concat", "left right", "both", axis=1),
        node("MaxPool", "both", "small", kernel_shape=[2, 2]),
        node("Conv", "small c", "y1"),
        node("Conv", "left d", "y2"),
    ]
    shapes = {"a": (16, 16, 1, 1), "b": (16, 16, 1, 1), "c": (16, 32, 1, 1), "d": (16, 16, 1, 1)}
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    network = model(
        nodes, [value("x", [1, 16, 4, 4])], [value("y1", [1, 16, 3, 3]), value("y2", [1, 16, 4, 4])], weights
    )
    made, plan = quantized(network, {"x": 1.0, "small": 8.0, "left": 5.0})
    assert plan.tensors == ("x", "small", "left")
    assert constants(made)["left_scale"] == constants(made)["small_scale"] == np.float32(8) / np.float32(127)
    assert constants(made)["x_scale"] == np.float32(1) / np.float32(127)


def heads(*tail, **more):
    """A large and a small head, each read by a convolution of its own; ``tail`` joins them, as ``joined``."""
    random = np.random.default_rng(0)
    nodes = [
        node("Conv", "x a", "large"),
        node("Conv", "x b", "small"),
        node("Conv", "large c", "y1"),
        node("Conv", "small c", "y2"),
        *tail,
    ]
    weights = {name: random.normal(size=(16, 16, 1, 1)).astype(np.float32) / 4 for name in "abc"}
    weights["a"] *= 100
    weights["b"] *= 0.05
    outputs = [value(name, [1, None, None, None]) for name in ("y1", "y2", "joined")]
    return model(nodes, [value("x", [1, 16, 4, 4])], outputs, {**weights, **more}, check=False)


@pytest.mark.parametrize(
    "tail",
    [
        [node("Concat", "large small", "joined", axis=1)],
        [node("Concat", "small large", "c1", axis=1), node("Transpose", "c1", "joined", perm=[0, 2, 3, 1])],
        [node("Concat", "large small", "c1", axis=1), node("Concat", "c1 x", "joined", axis=1)],
    ],
    ids=["output", "moved", "nested"],
)
def test_heads_that_are_only_joined_for_the_output_keep_scales_of_their_own(tail):
    network = heads(*tail)
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 16, 4, 4)).astype(np.float32)}
    made, plan = quantized(network, magnitudes(network, feeds))
    assert set(plan.tensors) == {"x", "large", "small"}
    assert constants(made)["large_scale"] > 500 * constants(made)["small_scale"]
    wanted, found = run(network, feeds), run(made, feeds)
    assert all(decibels(wanted[name], found[name]) > 25 for name in wanted)


def test_a_small_head_keeps_its_levels_although_a_convolution_reads_both():
    network = heads(
        node("Concat", "large small", "both", axis=1),
        node("Conv", "both d", "joined"),
        d=np.ones((16, 32, 1, 1), np.float32),
    )
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 16, 4, 4)).astype(np.float32)}
    made, _ = quantized(network, magnitudes(network, feeds))
    assert constants(made)["large_scale"] == constants(made)["both_scale"] > 500 * constants(made)["small_scale"]
    assert decibels(run(network, feeds)["y2"], run(made, feeds)["y2"]) > 25


@pytest.mark.parametrize("shape", [[32, 20], ["n", 32, 20]])
def test_a_constant_on_the_left_of_a_matrix_product_is_its_weights(shape):
    random = np.random.default_rng(0)
    weights = (random.normal(size=(48, 32)) * np.logspace(-2, 1, 48)[:, None]).astype(np.float32)
    network = model(
        [node("MatMul", "w x", "y")], [value("x", shape)], [value("y", [*shape[:-2], 48, 20])], {"w": weights}
    )
    x = random.normal(size=[3 if size == "n" else size for size in shape]).astype(np.float32)
    made, plan = quantized(network, {"x": float(np.abs(x).max())})
    assert plan.edges == (("MatMul_y", 1),)
    np.testing.assert_array_equal(constants(made)["w_scale"], np.abs(weights).max(axis=1) / np.float32(127))
    wanted, found = run(network, {"x": x})["y"], run(made, {"x": x})["y"]
    rows = [decibels(wanted[..., row, :], found[..., row, :]) for row in range(48)]
    assert min(rows) > 30  # the small rows too: each has a scale of its own


def test_constants_on_both_sides_of_a_matrix_product_are_none():
    nodes = [node("MatMul", "v w", "c"), node("MatMul", "x c", "y")]
    constants = {"v": np.eye(16, dtype=np.float32), "w": np.eye(16, dtype=np.float32)}
    network = model(nodes, [value("x", ["n", 16])], [value("y", ["n", 16])], constants)
    _, plan = quantized(network, {"x": 1.0})
    assert left_out(plan) == dict.fromkeys(["MatMul_c", "MatMul_y"], "both operands are activations")


def test_residual_add_without_a_convolution_stays_bare():
    nodes = [node("MatMul", "x w", "m"), node("Add", "m x", "s"), node("MatMul", "s w", "y")]
    network = model(nodes, [value("x", ["n", 16])], [value("y", ["n", 16])], {"w": np.eye(16, dtype=np.float32)})
    made, plan = quantized(network, {"x": 1.0, "s": 2.0})
    assert plan.edges == (("MatMul_m", 0), ("MatMul_y", 0))
    assert ops(made).count("DequantizeLinear") == 3  # the weights are shared, and dequantized once


def test_a_convolution_that_others_read_too_is_not_fused():
    random = np.random.default_rng(0)
    nodes = [node("Conv", "x w", "c"), node("Add", "c x", "y"), node("Relu", "c", "z")]
    outputs = [value(name, [1, 16, 4, 4]) for name in "yz"]
    network = model(nodes, [value("x", [1, 16, 4, 4])], outputs, {"w": random.normal(size=(16, 16, 1, 1)).astype("f")})
    _, plan = quantized(network, {"x": 1.0})
    assert plan.edges == (("Conv_c", 0),)


def test_what_is_left_out_says_why():
    random = np.random.default_rng(0)
    nodes = [
        node("Conv", "x narrow", "a", "narrow"),
        node("Conv", "a wide", "b", "wide"),
        node("Conv", "b computed", "c", "dynamic"),
        node("Conv", "c named", "d", "by_name"),
        node("Conv", "d dead", "e", "dead"),
        node("Conv", "e burst", "y", "burst"),
    ]
    eye = random.normal(size=(16, 16, 1, 1)).astype(np.float32)
    network = model(
        nodes,
        [value("x", [1, 4, 4, 4]), value("computed", [16, 16, 1, 1])],
        [value("y", [1, 16, 4, 4])],
        {
            "narrow": random.normal(size=(8, 4, 1, 1)).astype(np.float32),
            "wide": random.normal(size=(16, 8, 1, 1)).astype(np.float32),
            "named": eye,
            "dead": eye,
            "burst": eye,
        },
    )
    amax = {"x": 1.0, "a": 2.0, "b": 3.0, "c": 4.0, "d": 0.0, "e": float("inf")}
    made, plan = quantized(network, amax, exclude=KeepRules(names=("^by_", "^no$"), ops=("Gemm",)))
    assert [one.node for one in plan.weighted] == ["wide"]
    assert left_out(plan) == {
        "narrow": "4 to 8 channels are too few to gain",
        "dynamic": "its weights are not constants",
        "by_name": "exclude: ^by_",
        "dead": "its input 'd' was always zero in calibration",
        "burst": "its input 'e' overflowed in calibration",
    }
    assert plan.idle == ("Gemm", "^no$")
    assert ops(made).count("QuantizeLinear") == 1


def test_nodes_kept_in_fp32_are_not_quantized_and_a_limit_leaves_out_what_reaches_beyond():
    network = residual_cnn()
    amax = magnitudes(network, {"image": images(4)})
    _, plan = quantized(network, amax, keep=KeepRules(names=("^head$",)))
    assert left_out(plan) == {"head": "keep: ^head$"}
    _, plan = quantized(network, amax | {"flat": 99.0}, exclude=KeepRules(limit=50.0))
    assert left_out(plan) == {"head": "its input 'flat' reaches 99, above exclude.limit 50"}


def test_a_pattern_that_is_no_regular_expression():
    with pytest.raises(UsageError, match=r"exclude\.names: '\(' is not a regular expression"):
        placement.plan(normal(residual_cnn()), exclude=KeepRules(names=("(",)))


def test_ranges_that_are_missing_are_named():
    plan = placement.plan(normal(residual_cnn()))
    assert placement.uncovered(plan, {"nchw": 1.0, "flat": 2.0}) == list(plan.tensors[1:-1])


def test_fp8_stores_weights_in_e4m3_with_scale_amax_over_448():
    network = residual_cnn(width=32)
    amax = magnitudes(network, {"image": images(8)})
    made, plan = quantized(network, amax, "fp8")
    assert editing.opset(made) == 19
    assert "stem_conv" in left_out(plan)  # one input channel
    stored, before = constants(made), constants(network)
    weights = before["block0_first_w"]
    scale = np.abs(weights).max(axis=(1, 2, 3)) / np.float32(448)
    np.testing.assert_allclose(stored["block0_first_w_scale"], scale, rtol=1e-6)
    assert stored["block0_first_w_quantized"].dtype == ml_dtypes.float8_e4m3fn
    back = stored["block0_first_w_quantized"].astype(np.float32) * scale.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(back, weights, rtol=2.0**-4, atol=float(scale.max()) * 2.0**-9)
    assert stored["flat_scale"] == np.float32(amax["flat"]) / np.float32(448)


def both(network, amax, precision="int8"):
    """Quantized with a float16 base."""
    result = normal(network)
    plan = placement.plan(result, precision, amax=amax)
    added = qdq.quantize(result, plan, amax, precision, "fp16")
    report = autocast.lower(result, "fp16", {**amax, **added})
    types.check(fully_checked(result))
    return result, report


def test_int8_in_a_float16_graph_casts_at_the_borders_only():
    network, feeds = residual_cnn(), {"image": images(32)}
    made, report = both(network, magnitudes(network, feeds))
    assert (report.casts, report.kept) == (4, ())  # the input, the two outputs, and the sum of the matrix product
    assert editing.opset(made) == 19
    stored, readers = constants(made), editing.consumers(made.graph)
    for one in made.graph.node:
        if one.op_type in ("QuantizeLinear", "DequantizeLinear"):
            product = any(reader.op_type == "MatMul" for reader in readers[one.output[0]])
            assert stored[one.input[1]].dtype == (np.float32 if product else np.float16)
    assert decibels(run(network, feeds)["logits"], run(made, feeds)["logits"]) > 33


def test_products_of_quantized_matrices_are_summed_in_float():
    """A runtime that rounds the sum of 512 INT8 products to the type of the result would get infinity in float16."""
    network, feeds = residual_cnn(), {"image": images(32)}
    made, _ = both(network, magnitudes(network, feeds))
    scope, head = types.infer(made), next(one for one in made.graph.node if one.name == "head")
    assert {scope[name] for name in (*head.input, *head.output)} == {TensorProto.FLOAT}
    assert [one.op_type for one in editing.consumers(made.graph)[head.output[0]]] == ["Cast"]
    makers, stored = editing.producers(made.graph), constants(made)
    pair = makers[head.input[0]], makers[makers[head.input[0]].input[0]]
    scales = [stored[one.input[1]] for one in pair]
    assert [scale.dtype for scale in scales] == [np.float32, np.float16]
    assert scales[0] == scales[1].astype(np.float32)
    convs = [one for one in made.graph.node if one.op_type == "Conv"]
    assert {scope[name] for one in convs for name in (*one.input, *one.output)} == {TensorProto.FLOAT16}


def test_weights_are_quantized_with_the_rounded_scale():
    network = residual_cnn()
    made, _ = both(network, magnitudes(network, {"image": images(8)}))
    stored, weights = constants(made), constants(network)["stem_w"]
    scale = stored["stem_w_scale"].astype(np.float32)
    assert (scale * 127 >= np.abs(weights).max(axis=(1, 2, 3))).all()  # rounding up: no weight is clipped
    error = np.abs(stored["stem_w_quantized"] * scale.reshape(-1, 1, 1, 1) - weights)
    assert (error <= scale.reshape(-1, 1, 1, 1) * 0.5001).all()


def shrink(network, name, factor):
    tensor = editing.initializers(network.graph)[name]
    tensor.CopyFrom(onnx.numpy_helper.from_array(editing.array(tensor) * np.float32(factor), name))


def test_scales_too_small_for_float16_keep_their_convolution_in_float():
    network = residual_cnn()
    shrink(network, "block0_first_w", 1e-3)
    feeds = {"image": images(32)}
    made, report = both(network, magnitudes(network, feeds))
    assert "block0_first_conv" in dict(report.kept)
    by_name, makers = {one.name: one for one in made.graph.node}, editing.producers(made.graph)
    conv = by_name["block0_first_conv"]
    assert [makers[name].op_type for name in conv.input[:2]] == ["DequantizeLinear"] * 2  # no cast between
    scope = types.infer(made)
    assert {scope[name] for name in conv.input} == {TensorProto.FLOAT}
    assert makers[conv.input[0]].input[0] == makers[by_name["block0_add"].input[1]].input[0]  # the same INT8 tensor
    assert scope[by_name["block0_add"].input[1]] == TensorProto.FLOAT16
    assert decibels(run(network, feeds)["logits"], run(made, feeds)["logits"]) > 33


def test_fp8_in_a_float16_graph_needs_no_float_scales():
    network = residual_cnn(width=32)
    shrink(network, "block0_first_w", 1e-2)
    feeds = {"image": images(8)}
    made, report = both(network, magnitudes(network, feeds), "fp8")
    assert (report.casts, report.kept) == (4, ())
    assert decibels(run(network, feeds)["logits"], run(made, feeds, optimize=False)["logits"]) > 25


@pytest.mark.parametrize("precision", ["int8", "fp8"])
@pytest.mark.parametrize("size", [1e8, 1e-9])
def test_ranges_beyond_float16_keep_their_scale_in_float(precision, size):
    """float16 has no 1e8 / 127, nor 1e-9 / 127; an FP8 scale that it has would make nothing but zeros of 1e-9."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(32, 32)) * 0.2).astype(np.float32)
    network = model(
        [node("MatMul", "x w", "y", "head")], [value("x", ["n", 32])], [value("y", ["n", 32])], {"w": weights}
    )
    feeds = {"x": (rng.normal(size=(64, 32)) * size).astype(np.float32)}
    made, _ = both(network, magnitudes(network, feeds), precision)
    scope = types.infer(made)
    pairs = [one for one in made.graph.node if one.op_type == "QuantizeLinear"]
    assert [scope[one.input[1]] for one in pairs] == [TensorProto.FLOAT]
    assert np.isfinite(constants(made)[pairs[0].input[1]])
    expected, got = feeds["x"].astype(np.float64) @ weights, run(made, feeds, optimize=False)["y"]
    assert decibels(expected / size, got.astype(np.float64) / size) > 25


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(broken):
    network = residual_cnn()
    amax = magnitudes(network, {"image": images(2)})
    tensor = editing.initializers(network.graph)["stem_w"]
    weights = np.array(editing.array(tensor))
    weights[2, 0, 1, 1] = broken
    tensor.CopyFrom(onnx.numpy_helper.from_array(weights, "stem_w"))
    with pytest.raises(ConversionError, match="the weights 'stem_w' of 'stem_conv' hold NaN or infinity"):
        quantized(network, amax)

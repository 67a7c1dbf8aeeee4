import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.networks import (
    constant,
    convolutions,
    decibels,
    fully_checked,
    images,
    magnitudes,
    model,
    node,
    ops,
    residual_cnn,
    run,
    value,
)
from trtconv.core.records import KeepRules
from trtconv.graph import autocast, editing, types

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
MOST_NEGATIVE = float(np.finfo(np.float32).min)


def lowered(network, precision="fp16", ranges=None, keep=None, io_types="keep"):
    """The lowered copy, checked by ONNX and by our own rules, and what lowering says of it."""
    result = copy.deepcopy(network)
    editing.normalize(result)
    report = autocast.lower(result, precision, ranges, keep, io_types)
    types.check(fully_checked(result))
    names = [one.name for _, one in editing.walk(result.graph)]
    assert len(set(names)) == len(names)
    return result, report


def true_half(network, feeds):
    """Outputs by ONNX's reference implementation, which really computes in float16."""
    with np.errstate(over="ignore", invalid="ignore"):
        return ReferenceEvaluator(network).run(None, feeds)


def test_a_network_becomes_half_with_casts_at_its_borders_only():
    network, feeds = residual_cnn(), {"image": images(8)}
    half, report = lowered(network, ranges=magnitudes(network, feeds))
    assert report.kept == ()
    assert report.casts == ops(half).count("Cast") == 3  # image in, probability and logits out
    scope = types.infer(half)
    assert {scope[one.input[1]] for one in half.graph.node if one.op_type in ("Conv", "MatMul")} == {HALF}
    assert {tensor.data_type for tensor in half.graph.initializer if tensor.dims} == {HALF}
    assert half.ByteSize() < 0.6 * network.ByteSize()
    wanted = run(network, feeds)
    assert decibels(wanted["logits"], run(half, feeds)["logits"]) > 55
    assert decibels(wanted["logits"], true_half(half, feeds)[1]) > 50


def test_interface_stays_or_becomes_half_by_choice():
    network = residual_cnn()
    kept, _ = lowered(network)
    assert [one.type.tensor_type.elem_type for one in (*kept.graph.input, *kept.graph.output)] == [FLOAT] * 3
    converted, report = lowered(network, io_types="convert")
    assert [one.type.tensor_type.elem_type for one in (*converted.graph.input, *converted.graph.output)] == [HALF] * 3
    assert report.casts == 0
    outputs = run(converted, {"image": images(4).astype(np.float16)})
    assert outputs["logits"].dtype == np.float16
    assert decibels(run(network, {"image": images(4)})["logits"], outputs["logits"]) > 50


def test_bfloat16_raises_the_opset_and_types_everything():
    network, report = lowered(residual_cnn(), "bf16")
    assert editing.opset(network) == 22
    assert report.casts == 3
    assert types.infer(network)["stem"] == TensorProto.BFLOAT16


def test_bfloat16_leaves_what_tensorrt_has_no_kernel_for():
    """TensorRT-RTX 1.5 and 1.7 build no transposed convolution in bfloat16."""
    network, _ = lowered(convolutions(), "bf16")
    kinds = {one.op_type: types.infer(network)[one.input[1]] for one in network.graph.node if len(one.input) > 1}
    assert (kinds["Conv"], kinds["ConvTranspose"]) == (TensorProto.BFLOAT16, TensorProto.FLOAT)
    halved, _ = lowered(convolutions(), "fp16")
    assert FLOAT not in {types.infer(halved)[one.input[1]] for one in halved.graph.node if "Conv" in one.op_type}


def squares():
    """x -> mean(x * x * x), which overflows float16 in the middle although both ends are small."""
    nodes = [
        node("Mul", "x x", "square"),
        node("Mul", "square x", "cube"),
        node("Mul", "cube tiny", "scaled"),
        node("Relu", "scaled", "y"),
    ]
    return model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], {"tiny": np.float32([1e-3])})


def test_measured_ranges_find_an_overflow_that_onnxruntime_hides():
    network, feeds = squares(), {"x": np.float32([[60, 70, 80, 90]])}
    wanted = run(network, feeds)["y"]
    blind, report = lowered(network)
    assert "may reach" in dict(report.kept)["Mul_cube"]  # without samples, what may overflow stays FP32
    assert decibels(wanted, true_half(blind, feeds)[0]) > 55
    guarded, report = lowered(network, ranges=magnitudes(network, feeds))
    assert dict(report.kept) == {
        "Mul_cube": "'cube' reaches 7.29e+05, above 3.275e+04",
        "Mul_scaled": "'cube' reaches 7.29e+05, above 3.275e+04",
    }
    assert decibels(wanted, true_half(guarded, feeds)[0]) > 55


def test_the_limit_is_the_users_to_set():
    network, feeds = squares(), {"x": np.float32([[60, 70, 80, 90]])}
    _, report = lowered(network, ranges=magnitudes(network, feeds), keep=KeepRules(limit=1e6))
    assert report.kept == ()
    _, report = lowered(network, ranges=magnitudes(network, feeds), keep=KeepRules(limit=1000.0))
    assert [name for name, _ in report.kept] == ["Mul_square", "Mul_cube", "Mul_scaled"]


def test_rules_keep_nodes_and_idle_rules_are_told():
    half, report = lowered(residual_cnn(), keep=KeepRules(ops=("Softmax", "Einsum"), names=("^stem", "nothing$")))
    assert dict(report.kept) == {"stem_conv": "keep: ^stem", "Softmax_probability": "keep: Softmax"}
    assert report.idle == ("Einsum", "nothing$")
    scope = types.infer(half)
    by_name = {one.name: one for one in half.graph.node}
    assert scope[by_name["stem_conv"].input[1]] == FLOAT
    assert scope[by_name["block0_first_conv"].input[1]] == HALF
    # image, Transpose and stem stay FP32, then one cast down; one up for logits, which the Softmax then reads as FP32
    assert report.casts == ops(half).count("Cast") == 2
    assert by_name["Transpose_nchw"].input[0] == "image"


def test_static_rules_where_nothing_was_measured():
    nodes = [node("Exp", "x", "e"), node("ReduceSum", "e axes", "s"), node("Div", "e s", "y")]
    network = model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], {"axes": np.int64([1])})
    _, report = lowered(network)
    assert [name for name, _ in report.kept] == ["Exp_e", "ReduceSum_s", "Div_y"]
    assert all("'e' may reach any value (not measured)" in reason for _, reason in report.kept[:2])
    _, report = lowered(network, ranges={"x": 3.0, "e": 20.1, "s": 60.0, "y": 1.0})
    assert report.kept == ()


def test_normalisation_written_out_keeps_its_epsilon():
    nodes = [
        node("ReduceMean", "x", "mean", axes=[1]),
        node("Sub", "x mean", "centred"),
        node("Mul", "centred centred", "square"),
        node("ReduceMean", "square", "variance", axes=[1]),
        node("Add", "variance epsilon", "safe"),
        node("Sqrt", "safe", "deviation"),
        node("Div", "centred deviation", "y"),
    ]
    network = model(nodes, [value("x", ["n", 8])], [value("y", ["n", 8])], {"epsilon": np.float32(1e-12)})
    feeds = {"x": np.float32([[0.001] * 8, [0.001, 0.002] * 4])}  # no variance at all, and very little
    half, report = lowered(network, ranges=magnitudes(network, feeds))
    assert {name for name, _ in report.kept} == {
        "Mul_square",
        "ReduceMean_variance",
        "Add_safe",
        "Sqrt_deviation",
        "Div_y",
    }
    made = true_half(half, feeds)[0]
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made[1], run(network, feeds)["y"][1], atol=2e-3)


def test_squares_inside_a_normalisation_count():
    network = model(
        [node("LayerNormalization", "x g", "y", axis=-1)],
        [value("x", ["n", 4])],
        [value("y", ["n", 4])],
        {"g": np.ones(4, np.float32)},
    )
    assert lowered(network, ranges={"x": 100.0, "y": 2.0})[1].kept == ()
    (kept,) = lowered(network, ranges={"x": 300.0, "y": 2.0})[1].kept
    assert kept == ("LayerNormalization_y", "the square of 'x', which reaches 300, is above 3.275e+04")


@pytest.mark.parametrize("ranges", [None, {"scores": 5.0, "hidden": abs(MOST_NEGATIVE), "y": 1.0}])
def test_masks_before_softmax_are_clamped_not_kept(ranges):
    nodes = [
        node("Mul", "x two", "scores"),
        node("Where", "mask scores lowest", "hidden"),
        node("Softmax", "hidden", "y"),
    ]
    network = model(
        nodes,
        [value("x", [2, 4]), value("mask", [2, 4], TensorProto.BOOL)],
        [value("y", [2, 4])],
        {"two": np.float32(2), "lowest": np.float32(MOST_NEGATIVE)},
    )
    half, report = lowered(network, ranges=ranges)
    assert report.kept == ()
    feeds = {"x": np.float32([[1, 2, 3, 4]] * 2), "mask": np.array([[True, False, True, True], [False] * 4])}
    made = true_half(half, feeds)[0]
    np.testing.assert_allclose(made, run(network, feeds)["y"], atol=1e-3)


def test_constants_beyond_half_that_are_no_masks_keep_their_node():
    network = model(
        [node("Mul", "x huge", "y"), node("Mul", "y small", "z")],
        [value("x", [2])],
        [value("z", [2])],
        {"huge": np.float32(1e6), "small": np.float32(1e-2)},
    )
    half, report = lowered(network)
    assert report.kept == (
        ("Mul_y", "'huge' reaches 1e+06, above 3.275e+04"),
        ("Mul_z", "'y' may reach 1.6e+07 (not measured), above 3.275e+04"),
    )
    np.testing.assert_allclose(true_half(half, {"x": np.float32([1e-3, 1e-2])})[0], [10, 100], rtol=2e-3)


def test_bounds_of_clip_saturate():
    network = model(
        [node("Clip", "x - most", "y")],
        [value("x", [2])],
        [value("y", [2])],
        {"most": np.float32(np.finfo(np.float32).max)},
    )
    half, report = lowered(network)
    assert report.kept == ()
    np.testing.assert_array_equal(true_half(half, {"x": np.float32([-3, 7])})[0], [-3, 7])


def test_shape_arithmetic_and_resize_scales_stay_float():
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Shape", "c", "shape", start=2),
        node("Cast", "shape", "float_shape", to=FLOAT),
        node("Mul", "float_shape two", "doubled"),
        node("Div", "doubled float_shape", "ratio"),
        node("Concat", "ones ratio", "scales", axis=0),
        node("Resize", "c - scales", "y", mode="nearest"),
    ]
    constants = {"w": np.ones((1, 1, 3, 3), np.float32), "two": np.float32([2]), "ones": np.float32([1, 1])}
    network = model(nodes, [value("x", [1, 1, "h", "w"])], [value("y", [1, 1, "oh", "ow"])], constants)
    half, report = lowered(network)
    assert {name for name, _ in report.kept} == {"Cast_float_shape", "Mul_doubled", "Div_ratio", "Concat_scales"}
    by_op = {one.op_type: one for one in half.graph.node}
    scope = types.infer(half)
    assert scope[by_op["Resize"].input[0]] == HALF
    assert scope[by_op["Resize"].input[2]] == FLOAT
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 1, 5, 2049)).astype(np.float32)}
    made, wanted = run(half, feeds)["y"], run(network, feeds)["y"]
    assert made.shape == wanted.shape == (1, 1, 10, 4098)
    assert decibels(wanted, made) > 55


def test_operators_without_a_half_form():
    nodes = [
        node("Relu", "b", "boxes"),
        node("NonMaxSuppression", "boxes scores most", "chosen"),
        node("Celu", "scores", "c"),
    ]
    outputs = [value("chosen", ["n", 3], TensorProto.INT64), value("c", [1, 1, 4])]
    network = model(nodes, [value("b", [1, 4, 4]), value("scores", [1, 1, 4])], outputs, {"most": np.int64([2])})
    _, report = lowered(network)
    assert dict(report.kept) == {
        "NonMaxSuppression_chosen": "NonMaxSuppression has no float16 form",
        "Celu_c": "Celu has no float16 form",
    }
    assert report.casts == 0  # the Relu before stays FP32 too: it only moves values


def test_every_form_of_constant_and_casts_to_float():
    nodes = [
        node("Constant", "", "two", value_float=2.0),
        node("Constant", "", "list", value_floats=[1.0, 2.0]),
        node("Cast", "flags", "ones", to=FLOAT),
        node("Shape", "x", "s"),
        node("ConstantOfShape", "s", "threes", value=constant(np.float32([3]), "v")),
        node("ConstantOfShape", "s", "zeros"),
        node("Mul", "x two", "a"),
        node("Add", "a list", "b"),
        node("Add", "b ones", "c"),
        node("Add", "c threes", "d"),
        node("Add", "d zeros", "y"),
    ]
    network = model(nodes, [value("x", ["n", 2]), value("flags", ["n", 2], TensorProto.BOOL)], [value("y", ["n", 2])])
    half, report = lowered(network)
    assert report.casts == 2
    feeds = {"x": np.float32([[1, 2]]), "flags": np.array([[True, False]])}
    np.testing.assert_array_equal(run(half, feeds)["y"], [[2 + 1 + 1 + 3, 4 + 2 + 3]])


def test_integers_beyond_exactness_are_cast_to_float_not_half():
    nodes = [node("Cast", "position", "p", to=FLOAT), node("Mul", "p small", "angle"), node("Sin", "angle", "y")]
    network = model(nodes, [value("position", [3], TensorProto.INT64)], [value("y", [3])], {"small": np.float32(0.001)})
    _, report = lowered(network, ranges={"p": 4000.0, "angle": 4.0, "y": 1.0})
    reason = "'p' holds integers up to 4000; above 2048 float16 is not exact"
    assert report.kept == (("Cast_p", reason), ("Mul_angle", reason))
    _, report = lowered(network, ranges={"p": 1000.0, "angle": 1.0, "y": 1.0})
    assert report.kept == ()


def test_a_constant_read_by_both_kinds_exists_twice_and_no_more():
    nodes = [node("Add", "x w", "a"), node("Relu", "a", "r"), node("Mul", "r w", "b", "wide"), node("Sub", "b w", "y")]
    network = model(nodes, [value("x", [3])], [value("y", [3])], {"w": np.float32([1, 2, 3])})
    half, _ = lowered(network, keep=KeepRules(names=("^wide$",)))
    assert {tensor.name: tensor.data_type for tensor in half.graph.initializer} == {"w": FLOAT, "w_float16": HALF}


def test_an_output_that_is_read_again_is_cast_once():
    nodes = [node("Sigmoid", "x", "y"), node("Mul", "y y", "z"), node("Tanh", "y", "t")]
    network = model(nodes, [value("x", [3])], [value("y", [3]), value("z", [3]), value("t", [3])])
    half, report = lowered(network)
    assert report.casts == 4
    assert [one.output[0] for one in half.graph.node if one.op_type == "Cast"] == ["x_float16", "y", "z", "t"]


def test_nodes_without_names_get_names_of_their_own():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], name="same"),
        helper.make_node("Relu", ["b"], ["y"], name="same"),
    ]
    half, _ = lowered(model(nodes, [value("x", [3])], [value("y", [3])]))
    assert np.isfinite(run(half, {"x": np.float32([1, 2, 3])})["y"]).all()


def conditional():
    bodies = {}
    for name, op in (("then_branch", "Sigmoid"), ("else_branch", "Exp")):
        inner = [node("Mul", "outer weight", f"{name}_m"), node(op, f"{name}_m", f"{name}_out", f"{name}_{op}")]
        bodies[name] = helper.make_graph(inner, name, [], [value(f"{name}_out", ["n", 3])])
    nodes = [node("Tanh", "x", "outer"), node("If", "condition", "chosen", **bodies), node("Mul", "chosen weight", "y")]
    return model(
        nodes,
        [value("x", ["n", 3]), value("condition", [], TensorProto.BOOL)],
        [value("y", ["n", 3])],
        {"weight": np.float32([1, 2, 3])},
    )


@pytest.mark.parametrize("condition", [True, False])
def test_branches_compute_in_half_and_give_back_float(condition):
    network = conditional()
    half, report = lowered(network)
    assert report.kept == ()  # the exponent is a Tanh times at most 3
    inside = [one for graph, one in editing.walk(half.graph) if graph is not half.graph and one.op_type == "Mul"]
    assert len(inside) == 2
    feeds = {"x": np.float32([[0.1, 0.2, 0.3]]), "condition": np.array(condition)}
    assert decibels(run(network, feeds)["y"], run(half, feeds)["y"]) > 55


def test_a_loop_carries_float_and_computes_in_half():
    body = helper.make_graph(
        [node("MatMul", "state w", "m", "turn"), node("Tanh", "m", "next"), node("Identity", "go", "again")],
        "body",
        [value("step", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", [2, 4])],
        [value("again", [], TensorProto.BOOL), value("next", [2, 4])],
    )
    weights = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    network = model(
        [node("Loop", "count - x", "y", body=body)],
        [value("x", [2, 4])],
        [value("y", [2, 4])],
        {"count": np.int64(5), "w": weights},
    )
    half, _ = lowered(network)
    scope = types.infer(half)
    assert scope["w"] == HALF
    feeds = {"x": np.float32([[1, 2, 3, 4], [0.5, 0, -1, 2]])}
    assert decibels(run(network, feeds)["y"], run(half, feeds)["y"]) > 50


def test_operators_outside_the_standard_stay_float_with_all_that_follows_from_them():
    foreign = helper.make_node("Special", ["a"], ["b"], name="special", domain="my.domain")
    network = model(
        [node("Relu", "x", "a"), foreign, node("Add", "b w", "y")],
        [value("x", [3])],
        [value("y", [3])],
        {"w": np.float32([1, 2, 3])},
        check=False,
    )
    network.opset_import.append(helper.make_opsetid("my.domain", 1))
    result = copy.deepcopy(network)
    editing.normalize(result)
    report = autocast.lower(result, "fp16")
    types.check(result)
    assert dict(report.kept) == {
        "special": "Special is not a standard operator",
        "Add_y": "the type of 'b' is not known",
    }
    assert result.graph.initializer[0].data_type == FLOAT


def test_a_foreign_operator_on_integers_does_not_matter():
    foreign = helper.make_node("Special", ["n"], ["m"], name="special", domain="my.domain")
    network = model(
        [node("Sigmoid", "x", "y"), foreign],
        [value("x", [3]), value("n", [3], TensorProto.INT64)],
        [value("y", [3]), value("m", [3], TensorProto.INT64)],
        {},
        check=False,
    )
    network.opset_import.append(helper.make_opsetid("my.domain", 1))
    editing.normalize(network)
    assert autocast.lower(network, "fp16").kept == ()
    assert types.check(network).find("y") == FLOAT
    assert [one.op_type for one in network.graph.node] == ["Cast", "Sigmoid", "Cast", "Special"]


def test_lowering_twice_gives_the_same_bytes():
    first, _ = lowered(residual_cnn())
    second, _ = lowered(onnx.load_from_string(residual_cnn().SerializeToString()))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)

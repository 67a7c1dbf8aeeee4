"""Kinds of values that half precision spoils, each in several spellings: lowered, they compute what FP32 computes."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops import op_conv, op_conv_transpose, op_gemm, op_matmul

from tests.networks import constant, decibels, model, node, run, value
from trtconv.graph import autocast, dataflow, editing, lowering, observe, strict, types, values

FLOAT, LOWEST = TensorProto.FLOAT, float(np.finfo(np.float32).min)
random = np.random.default_rng(5)
WEIGHT = (random.normal(size=(32, 32)) / 6).astype(np.float32)
ROWS = random.normal(size=(8, 32)).astype(np.float32)
ROWS[3] = 0
LARGE = ROWS * np.float32([1, 300, 1000, 0.01, 0, 1, 2000, 5])[:, None]


def rows(nodes, constants, x=ROWS, output="y", shape=(8, 32), **others):
    """A network of ``x`` [8, 32] whose first node is a matrix product ``a``."""
    inputs = [value("x", [8, 32]), *(value(name, array.shape, _kind(array)) for name, array in others.items())]
    made = model(
        [node("MatMul", "x w", "a"), *nodes],
        inputs,
        [value(output, list(shape))],
        {"w": WEIGHT, **constants},
        check=False,
    )
    return made, {"x": x, **others}


def _kind(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def scalar(number):
    return np.float32(number)


# Divisors and logarithms: what is small must stay exact.


def norm_expanded():
    nodes = [
        node("ReduceL2", "a", "n", axes=[1]),
        node("Clip", "n eps", "c"),
        node("Shape", "a", "s"),
        node("Expand", "c s", "b"),
        node("Div", "a b", "y"),
    ]
    return rows(nodes, {"eps": scalar(1e-12)})


def norm_tiled():
    nodes = [
        node("Abs", "a", "m"),
        node("ReduceSum", "m ax", "n", keepdims=1),
        node("Max", "n eps", "c"),
        node("Tile", "c times", "b"),
        node("Div", "a b", "y"),
    ]
    return rows(nodes, {"eps": scalar(1e-8), "ax": np.int64([1]), "times": np.int64([1, 32])})


def norm_inverted():
    nodes = [
        node("Mul", "a a", "q"),
        node("ReduceSum", "q ax", "n", keepdims=1),
        node("Add", "n eps", "c"),
        node("Pow", "c minus", "i"),
        node("Unsqueeze", "i ax", "u"),
        node("Squeeze", "u ax", "v"),
        node("Mul", "a v", "y"),
    ]
    return rows(nodes, {"eps": scalar(1e-10), "ax": np.int64([1]), "minus": scalar(-0.5)})


def log_mel():
    bank = np.abs(random.normal(size=(32, 32)) / 32).astype(np.float32)
    nodes = [
        node("Mul", "a a", "q"),
        node("MatMul", "q bank", "mel"),
        node("Max", "mel floor", "m"),
        node("Log", "m", "l"),
        node("Mul", "l tenth", "y"),
    ]
    return rows(nodes, {"bank": bank, "floor": scalar(1e-10), "tenth": scalar(0.1)})


def log_power():
    nodes = [node("Pow", "x two", "q"), node("Log", "q", "l"), node("Max", "l floor", "m"), node("Add", "a m", "y")]
    return rows(nodes, {"two": scalar(2), "floor": scalar(-30)}, ROWS * scalar(1e-3))


def log_sum():
    nodes = [
        node("ReduceSumSquare", "a", "q", axes=[1]),
        node("Add", "q floor", "m"),
        node("Log", "m", "l"),
        node("Add", "a l", "y"),
    ]
    return rows(nodes, {"floor": scalar(1e-9)})


# Squares that leave the range, although nothing else does.


def rms(square):
    nodes = [
        square,
        node("ReduceMean", "q", "v", axes=[1]),
        node("Add", "v eps", "e"),
        node("Sqrt", "e", "s"),
        node("Div", "a s", "y"),
    ]
    return rows(nodes, {"eps": scalar(1e-3), "two": scalar(2)}, LARGE)


def rms_mul():
    return rms(node("Mul", "a a", "q"))


def rms_pow():
    return rms(node("Pow", "a two", "q"))


def rms_scaled_first():
    nodes = [
        node("Neg", "a", "b"),
        node("Mul", "a b", "q"),
        node("ReduceMean", "q", "v", axes=[1]),
        node("Sub", "eps v", "e"),
        node("Sqrt", "e", "s"),
        node("Div", "a s", "y"),
    ]
    return rows(nodes, {"eps": scalar(1e-3)}, LARGE)


def energy():
    nodes = [node("ReduceSumSquare", "a", "q", axes=[1]), node("Mul", "q tiny", "e"), node("Add", "x e", "y")]
    return rows(nodes, {"tiny": scalar(1e-5)}, LARGE)


# Integers and angles.


def rotary(first):
    frequencies = (1 / 10000 ** (np.arange(16) / 16)).astype(np.float32)
    nodes = [
        node("Cast", "at", "f", to=FLOAT),
        node("Unsqueeze", "f ax", "u"),
        node("Mul", "u freq", "g"),
        node("Concat", "g g", "angle", axis=-1),
        node("Cos", "angle", "c"),
        node("Mul", "a c", "y"),
    ]
    return rows(nodes, {"freq": frequencies, "ax": np.int64([1])}, at=np.arange(first, first + 8))


def rotary_near():
    return rotary(900)


def rotary_far():
    return rotary(3900)


def rotary_product():
    """As a matrix product of positions and frequencies, moved about afterwards."""
    frequencies = (1 / 10000 ** (np.arange(32) / 32)).astype(np.float32).reshape(1, 32)
    nodes = [
        node("Cast", "at", "f", to=FLOAT),
        node("Unsqueeze", "f ax", "u"),
        node("MatMul", "u freq", "g"),
        node("Transpose", "g", "t", perm=[1, 0]),
        node("Transpose", "t", "angle", perm=[1, 0]),
        node("Sin", "angle", "c"),
        node("Add", "a c", "y"),
    ]
    return rows(nodes, {"freq": frequencies, "ax": np.int64([1])}, at=np.arange(3000, 3008))


def timestep():
    nodes = [
        node("Unsqueeze", "t ax", "u"),
        node("Mul", "u freq", "angle"),
        node("Sin", "angle", "s"),
        node("Mul", "a s", "y"),
    ]
    steps = np.float32([981, 961, 941, 761, 501, 21, 1, 0])
    return rows(nodes, {"freq": np.exp(-np.arange(32) / 3).astype(np.float32), "ax": np.int64([1])}, t=steps)


def positions_in_a_branch():
    """Positions are counted by Range, and their sines taken, inside an If."""
    bodies = {}
    for name, wave in (("then_branch", "Sin"), ("else_branch", "Cos")):
        nodes = [
            node("Range", "start stop one", f"{name}_r"),
            node("Cast", f"{name}_r", f"{name}_f", to=FLOAT),
            node("Unsqueeze", f"{name}_f ax", f"{name}_u"),
            node("Mul", f"{name}_u freq", f"{name}_m"),
            node(wave, f"{name}_m", f"{name}_y"),
        ]
        bodies[name] = helper.make_graph(nodes, name, [], [value(f"{name}_y", ["n", 32])])
    nodes = [
        node("Cast", "first", "start", to=TensorProto.INT64),
        node("Add", "start eight", "stop"),
        node("If", "yes", "waves", **bodies),
        node("Mul", "a waves", "y"),
    ]
    network, feeds = rows(
        nodes,
        {"freq": np.exp(-np.arange(32) / 3).astype(np.float32), "ax": np.int64([1])},
        first=np.array(3000, np.int32),
        yes=np.array(True),
    )
    for name, number in (("eight", 8), ("one", 1)):
        network.graph.initializer.append(onnx.numpy_helper.from_array(np.array(number, np.int64), name))
    return network, feeds


def mean_length():
    """A sum over thousands of zeros and ones is a length."""
    nodes = [
        node("Cast", "kept", "k", to=FLOAT),
        node("ReduceSum", "k ax", "n", keepdims=1),
        node("Mul", "n one", "m"),
        node("Sub", "m most", "d"),
        node("Add", "a d", "y"),
    ]
    kept = np.ones((8, 4099), np.int64)
    kept[:, :5] = np.tri(8, 5)
    return rows(nodes, {"ax": np.int64([1]), "one": scalar(1), "most": scalar(4094)}, kept=kept)


# Masks.


def attention(mask_nodes, constants, **others):
    """Rows attend to each other; ``mask`` [8, 8] goes on top of the scores."""
    nodes = [
        node("Transpose", "a", "t", perm=[1, 0]),
        node("MatMul", "a t", "s0"),
        node("Mul", "s0 twentieth", "scores"),
        *mask_nodes,
        node("Softmax", "masked", "p", axis=-1),
        node("MatMul", "p x", "y"),
    ]
    return rows(nodes, {"twentieth": scalar(0.05), **constants}, **others)


def mask_filled():
    """Full of the lowest number, times 0 and 1, where the padding is 0, as Hugging Face writes it."""
    fill = constant(np.float32([LOWEST]), "v")
    nodes = [
        node("ConstantOfShape", "shape", "full", value=fill),
        node("Cast", "later", "l", to=FLOAT),
        node("Mul", "full l", "m"),
        node("Cast", "kept", "k", to=FLOAT),
        node("Add", "m k", "s"),
        node("Equal", "s zero", "e"),
        node("Where", "e low m", "mask"),
        node("Add", "scores mask", "masked"),
    ]
    kept = np.ones((1, 8), np.int64)
    kept[0, :2] = 0
    constants = {"shape": np.int64([8, 8]), "zero": scalar(0), "low": scalar(LOWEST)}
    return attention(nodes, constants, later=~np.tri(8, dtype=bool), kept=kept)


def mask_expanded():
    nodes = [node("Shape", "scores", "s"), node("Expand", "low s", "full"), node("Where", "kept scores full", "masked")]
    return attention(nodes, {"low": scalar(LOWEST)}, kept=np.tri(8, k=-1, dtype=bool))


def mask_least():
    """The lesser of two masks, bounded by infinity."""
    nodes = [
        node("Trilu", "full one", "m", upper=1),
        node("Sub", "unit k", "d"),
        node("Mul", "d low", "e"),
        node("Min", "m e", "f"),
        node("Min", "f inf", "mask"),
        node("Add", "scores mask", "masked"),
    ]
    full = np.full((8, 8), -1e9, np.float32)
    kept = np.float32([[0] + [1] * 7])
    network, feeds = attention(
        nodes, {"full": full, "unit": scalar(1), "low": scalar(-1e9), "inf": scalar(np.inf)}, k=kept
    )
    network.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.int64), "one"))
    return network, feeds


def mask_given():
    """An input of the model, as large as can be; one row is left out wholly."""
    bias = np.where(np.tri(8, k=-1), np.float32(0), np.float32(LOWEST))
    return attention([node("Add", "scores bias", "masked")], {}, bias=bias)


def mask_added_twice():
    nodes = [
        node("Sub", "unit k", "d"),
        node("Mul", "d low", "m"),
        node("Add", "m bias", "mask"),
        node("Add", "mask scores", "masked"),
    ]
    bias = np.where(np.tri(8), np.float32(0), np.float32(-1e9))
    return attention(nodes, {"unit": scalar(1), "low": scalar(-1e9), "bias": bias}, k=np.float32([[0, 0] + [1] * 6]))


# Absorption, and values out of the range that come back.


def offset(large):
    return rows([node("Add", "a big", "b"), node("Sub", "b big", "y")], {"big": scalar(large)})


def offset_overflowing():
    return offset(60000)


def offset_absorbing():
    return offset(5000)


def scaled_to_nothing():
    nodes = [
        node("Mul", "a tiny", "b"),
        node("Reshape", "b flat", "c"),
        node("Reshape", "c back", "d"),
        node("Mul", "d huge", "y"),
    ]
    return rows(nodes, {"tiny": scalar(1e-9), "huge": scalar(1e9), "flat": np.int64([-1]), "back": np.int64([8, 32])})


def undefined_and_replaced():
    nodes = [
        node("Relu", "a", "r"),
        node("ReduceSum", "r ax", "s", keepdims=1),
        node("Div", "r s", "d"),
        node("Equal", "s z", "e"),
        node("Where", "e z d", "y"),
    ]
    return rows(nodes, {"ax": np.int64([1]), "z": scalar(0)})


def mel_above_a_high_floor():
    """Powers of loud sounds: what sums them up is as large as they are."""
    bank = np.abs(random.normal(size=(32, 32)) / 8).astype(np.float32)
    nodes = [
        node("Mul", "a a", "q"),
        node("MatMul", "q bank", "mel"),
        node("Add", "mel floor", "m"),
        node("Log", "m", "y"),
    ]
    return rows(nodes, {"bank": bank, "floor": scalar(1e-3)}, LARGE)


def energy_around():
    """The root of a sum of squares over neighbours, as contrast is normalised."""
    kernel = np.ones((1, 1, 1, 5), np.float32)
    nodes = [
        node("Reshape", "a picture", "b"),
        node("Pow", "b two", "q"),
        node("Conv", "q kernel", "s", pads=[0, 2, 0, 2]),
        node("Add", "s one", "e"),
        node("Sqrt", "e", "n"),
        node("Div", "b n", "d"),
        node("Reshape", "d back", "y"),
    ]
    shapes = {"picture": np.int64([1, 1, 8, 32]), "back": np.int64([8, 32])}
    return rows(nodes, {**shapes, "kernel": kernel, "two": scalar(2), "one": scalar(1)}, LARGE)


def largest_of_an_offset():
    nodes = [node("Sub", "x far", "o"), node("LeakyRelu", "o", "l"), node("Hardmax", "l", "h"), node("Add", "a h", "y")]
    return rows(nodes, {"far": scalar(3000)})


def centred_far_away():
    nodes = [node("Add", "x far", "o"), node("LayerNormalization", "o ones", "n"), node("Add", "a n", "y")]
    return rows(nodes, {"far": scalar(3000), "ones": np.ones(32, np.float32)})


# Divisors that are sums of both signs: the roundings of their terms count as often as the sum is smaller than they are.


def guarded(nodes, x=ROWS, **constants):
    """``s`` [8, 1] divides ``a``, and 1 where it is 0."""
    last = [node("Equal", "s zero", "none"), node("Where", "none one s", "t"), node("Div", "a t", "y")]
    return rows([*nodes, *last], {"ax": np.int64([1]), "zero": scalar(0), "one": scalar(1), **constants}, x)


def sum_of_both_signs():
    nodes = [
        node("ReduceSum", "a ax", "s", keepdims=1),
        node("Div", "a s", "d"),
        node("Equal", "s zero", "none"),
        node("Where", "none zero d", "v"),
        node("MatMul", "v w", "y"),
    ]
    return rows(nodes, {"ax": np.int64([1]), "zero": scalar(0)})


def inverse_of_a_mean():
    nodes = [
        node("Reshape", "a wide", "b"),
        node("ReduceMean", "b", "m", axes=[1], keepdims=1),
        node("Reshape", "m flat", "f"),
        node("Reciprocal", "f", "r"),
        node("Equal", "f zero", "none"),
        node("Where", "none zero r", "v"),
        node("Mul", "a v", "y"),
    ]
    return rows(nodes, {"wide": np.int64([8, 32, 1]), "flat": np.int64([8, 1]), "zero": scalar(0)})


def weighted_sum():
    shares, first = np.ones(32, np.float32), (ROWS @ WEIGHT)[1]
    shares[0] = (0.02 - first[1:].sum()) / first[0]
    return guarded([node("Mul", "a g", "b"), node("ReduceSum", "b ax", "s", keepdims=1)], g=shares)


def width_of_boxes():
    """Two ends of an interval, apart by little."""
    weight = np.concatenate([WEIGHT[:, :1], WEIGHT[:, :1] + scalar(0.003) * WEIGHT[:, 1:2]], 1)
    nodes = [node("MatMul", "x ends", "e"), node("Split", "e", "low high", axis=1), node("Sub", "high low", "s")]
    return guarded(nodes, ends=weight)


def depth_of_points():
    """One of a vector's elements less a constant that is nearly the largest of them."""
    nodes = [node("Slice", "a i0 i1 ax", "z"), node("Sub", "z away", "s")]
    depths = (ROWS @ WEIGHT)[:, 0]
    away = scalar(1.02) * depths[np.abs(depths).argmax()]
    return guarded(nodes, i0=np.int64([0]), i1=np.int64([1]), away=away)


def variance(*bound):
    """The mean of squares less the square of the mean, as JAX writes it, around a mean of 4."""
    nodes = [
        node("Add", "a four", "b"),
        node("Mul", "b b", "q"),
        node("ReduceMean", "q", "n", axes=[1]),
        node("ReduceMean", "b", "m", axes=[1]),
        node("Mul", "m m", "p"),
        node("Sub", "n p", "v" if not bound else "u"),
        *bound,
        node("Add", "v eps", "e"),
        node("Sqrt", "e", "s"),
        node("Sub", "b m", "c"),
        node("Div", "c s", "y"),
    ]
    x = ROWS + scalar(0.3) * random.normal(size=ROWS.shape).astype(np.float32)
    return rows(nodes, {"four": scalar(4), "zero": scalar(0), "eps": scalar(1e-3)}, x)


def variance_as_a_difference():
    return variance()


def variance_bounded():
    return variance(node("Max", "u zero", "v"))


def shares_of_a_gemm():
    nodes = [
        node("Gemm", "a w bias", "g", transB=1, alpha=0.5),
        node("ReduceSum", "g ax", "s", keepdims=1),
        node("Equal", "s zero", "none"),
        node("Where", "none one s", "t"),
        node("Div", "g t", "y"),
    ]
    constants = {"ax": np.int64([1]), "zero": scalar(0), "one": scalar(1), "bias": WEIGHT[0] * scalar(0.1)}
    return rows(nodes, constants)


def shares_of_channels():
    """Of convolutions one after the other, the second of which reads 16-bit values."""
    nodes = [
        node("Reshape", "a pixels", "p"),
        node("Conv", "p kernel", "b"),
        node("Tanh", "b", "c"),
        node("ConvTranspose", "c kernel bias", "d"),
        node("ReduceMean", "d", "s", axes=[1, 2, 3], keepdims=1),
        node("Equal", "s zero", "none"),
        node("Where", "none one s", "t"),
        node("Div", "d t", "q"),
        node("Reshape", "q flat", "y"),
    ]
    constants = {"pixels": np.int64([8, 8, 2, 2]), "flat": np.int64([8, 32]), "kernel": WEIGHT[:8, :8, None, None]}
    return rows(nodes, {**constants, "zero": scalar(0), "one": scalar(1), "bias": WEIGHT[0, :8]})


def shares_in_a_branch():
    names = ("then_branch", "else_branch")
    bodies = {}
    for name in names:
        nodes = [
            node("MatMul", "x w", f"b_{name}"),
            node("ReduceSum", f"b_{name} ax", f"s_{name}", keepdims=1),
            node("Equal", f"s_{name} zero", f"none_{name}"),
            node("Where", f"none_{name} one s_{name}", f"t_{name}"),
            node("Div", f"b_{name} t_{name}", f"o_{name}"),
        ]
        bodies[name] = helper.make_graph(nodes, name, [], [value(f"o_{name}", [8, 32])])
    nodes = [node("Squeeze", "yes", "scalar"), node("If", "scalar", "z", **bodies), node("Add", "a z", "y")]
    constants = {"ax": np.int64([1]), "zero": scalar(0), "one": scalar(1)}
    return rows(nodes, constants, yes=np.array([True]))


NETWORKS = (
    norm_expanded,
    norm_tiled,
    norm_inverted,
    log_mel,
    log_power,
    log_sum,
    rms_mul,
    rms_pow,
    rms_scaled_first,
    energy,
    rotary_near,
    rotary_far,
    rotary_product,
    timestep,
    positions_in_a_branch,
    mean_length,
    mask_filled,
    mask_expanded,
    mask_least,
    mask_given,
    mask_added_twice,
    offset_overflowing,
    offset_absorbing,
    scaled_to_nothing,
    undefined_and_replaced,
    mel_above_a_high_floor,
    energy_around,
    largest_of_an_offset,
    centred_far_away,
    sum_of_both_signs,
    inverse_of_a_mean,
    weighted_sum,
    width_of_boxes,
    depth_of_points,
    variance_as_a_difference,
    variance_bounded,
    shares_in_a_branch,
)
SHARES = (
    sum_of_both_signs,
    inverse_of_a_mean,
    weighted_sum,
    width_of_boxes,
    depth_of_points,
    shares_of_a_gemm,
    shares_of_channels,
    shares_in_a_branch,
)
"""Those whose divisors are elements of a product of matrices."""


def lowered(network, precision, ranges=None):
    result = copy.deepcopy(network)
    report = autocast.lower(result, precision, ranges)
    types.check(result)
    return result, report


def measured(network, feeds):
    """Largest finite magnitude of what calibration measures."""
    shown = copy.deepcopy(network)
    present = {one.name for one in (*network.graph.output, *network.graph.input)}
    wanted = observe.activations(network)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in present)
    arrays = {**run(shown, feeds), **feeds}
    return {name: float(np.abs(arrays[name][np.isfinite(arrays[name])]).max(initial=0)) for name in wanted}


@pytest.mark.parametrize("samples", [False, True], ids=["plain", "measured"])
@pytest.mark.parametrize(("precision", "allowed"), [("fp16", 0.01), ("bf16", 0.06)])
@pytest.mark.parametrize("make", NETWORKS)
def test_every_node_rounded_gives_what_fp32_gives(make, precision, allowed, samples):
    network, feeds = make()
    editing.normalize(network)
    wanted = run(network, feeds)["y"]
    half, _ = lowered(network, precision, measured(network, feeds) if samples else None)
    with np.errstate(all="ignore"):
        (found,) = ReferenceEvaluator(half).run(None, feeds)
    known = ~np.isnan(wanted)
    assert not np.isnan(found[known]).any()
    assert np.abs(np.float64(found) - wanted)[known].max() <= allowed * np.abs(wanted[known]).max()


@pytest.mark.parametrize("make", NETWORKS)
def test_rounding_everything_would_have_spoiled_it(make):
    """Else the test above shows nothing; what TensorRT would compute were every tensor cast to 16 bits."""
    network, feeds = make()
    if make is undefined_and_replaced:
        pytest.skip("there to show that NaN, which FP32 has as well, keeps nothing in FP32")
    editing.normalize(network)
    wanted = run(network, feeds)["y"]
    reference = ReferenceEvaluator(_rounded(network))
    with np.errstate(all="ignore"):
        found = np.float64(reference.run(None, feeds)[0])
    assert not np.abs(found - wanted)[~np.isnan(wanted)].max() <= 0.01 * np.abs(wanted[~np.isnan(wanted)]).max()


def _rounded(network):
    """The network with all its FP32 tensors and constants rounded to float16."""
    result = copy.deepcopy(network)
    _round(result.graph, "", dataflow.flow(result))
    return result


def _round(graph, path, flow):
    for tensor in graph.initializer:
        if tensor.data_type == FLOAT:
            with np.errstate(all="ignore"):
                rounded = editing.array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    nodes = []
    renamed = {} if path else {name: f"{name}_back" for name in flow.floats(sorted(flow.inputs))}
    for name, back in renamed.items():
        nodes += [
            node("Cast", name, f"{name}_low", to=TensorProto.FLOAT16),
            node("Cast", f"{name}_low", back, to=FLOAT),
        ]
    for one in graph.node:
        one.input[:] = [renamed.get(name, name) for name in one.input]
        nodes.append(one)
        for number, body in enumerate(editing.bodies(one)):
            _round(body, dataflow.inside(one, number), flow)
        for position, name in enumerate(list(one.output)):
            if flow.is_float(dataflow.key(path, name)) and not editing.bodies(one):
                one.output[position] = f"{name}_exact"
                nodes.append(node("Cast", f"{name}_exact", f"{name}_low", to=TensorProto.FLOAT16))
                nodes.append(node("Cast", f"{name}_low", name, to=FLOAT))
    editing.replace_nodes(graph, nodes)


def facts(nodes, inputs, constants, ranges=None):
    network = model(nodes, inputs, [onnx.ValueInfoProto(name=nodes[-1].output[0])], constants, check=False)
    editing.normalize(network)
    return values.analyse(dataflow.flow(network), ranges, 32752.0)


def test_what_is_known_of_data_and_of_constants():
    nodes = [
        node("Mul", "x hundred", "a"),
        node("Sigmoid", "a", "b"),
        node("Mul", "b hundred", "c"),
        node("Sub", "c hundred", "d"),
        node("Mul", "x x", "q"),
        node("Relu", "x", "r"),
        node("Mul", "r x", "s"),
    ]
    found = facts(nodes, [value("x", [3])], {"hundred": scalar(100)})
    assert (found["a"].low, found["a"].high, found["a"].degree, found["a"].sure) == (-100, 100, 1, False)
    assert (found["c"].low, found["c"].high, found["c"].sure) == (0, 100, True)
    assert (found["d"].low, found["d"].high) == (-100, 0)
    assert (found["q"].low, found["q"].degree) == (0, 2)
    assert found["s"].degree == 2  # the same data on both sides
    assert found["q"].reach > 65504 > found["a"].reach


def test_what_leaky_operators_make_of_negative_values_is_nearer_to_0():
    nodes = [node("Sub", "x far", "o"), node("LeakyRelu", "o", "l")]
    found = facts(nodes, [value("x", [3])], {"far": scalar(100)}, {"x": 2.0, "o": 102.0, "l": 1.02})
    assert (found["l"].low, found["l"].high) == (-1.02, 0)


def test_sums_are_not_bounded_by_what_bounds_their_terms():
    nodes = [
        node("Tanh", "x", "t"),
        node("ReduceSum", "t", "s"),
        node("ReduceSumSquare", "t", "q"),
        node("Add", "s q", "y"),
    ]
    found = facts(nodes, [value("x", [400])], {})
    assert found["t"].sure
    assert [found[name].sure for name in "sq"] == [False, False]
    assert found["q"].low == 0


def test_measured_ranges_replace_assumptions_but_not_what_is_certain():
    nodes = [node("Mul", "x x", "q"), node("Add", "q floor", "s"), node("Relu", "x", "r")]
    found = facts(nodes, [value("x", [3])], {"floor": scalar(0.5)}, {"x": 4.0, "q": 16.0, "s": 16.5, "r": 3.0})
    assert (found["x"].low, found["x"].high, found["x"].measured) == (-4, 4, True)
    assert (found["q"].low, found["q"].high, found["q"].degree) == (0, 16, 0)
    assert found["s"].low == 0.5
    assert (found["r"].low, found["r"].high) == (0, 3)


def test_what_moves_values_passes_on_what_is_known():
    nodes = [
        node("Cast", "n", "f", to=FLOAT),
        node("Reshape", "f flat", "g"),
        node("Tile", "g flat", "h"),
        node("Concat", "h h", "i", axis=0),
    ]
    found = facts(nodes, [value("n", [1], TensorProto.BOOL)], {"flat": np.int64([1])})
    assert all(
        (found[name].low, found[name].high, found[name].integer, found[name].data) == (0, 1, True, False)
        for name in "fghi"
    )


def test_a_loop_that_grows_has_no_bounds_and_one_that_does_not_has():
    def looped(op):
        inner = [node(op, "state two", "next"), node("Identity", "go", "again")]
        body = helper.make_graph(
            inner,
            "body",
            [value("turn", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", [2])],
            [value("again", [], TensorProto.BOOL), value("next", [2])],
        )
        nodes = [node("Sigmoid", "x", "start"), node("Loop", "count - start", "y", body=body)]
        return facts(nodes, [value("x", [2]), value("count", [], TensorProto.INT64)], {"two": scalar(2)})["y"]

    assert looped("Mul").unknown
    assert (looped("Min").low, looped("Min").high) == (0, 1)


def test_branches_that_use_one_name_for_different_tensors():
    bodies = {}
    for name, number in (("then_branch", 3.0), ("else_branch", -70000.0)):
        same = helper.make_tensor("number", FLOAT, [1], [number])
        nodes = [node("Add", "x number", "out", f"{name}_add"), node("Tanh", "out", "end", f"{name}_tanh")]
        bodies[name] = helper.make_graph(nodes, name, [], [value("end", [2])], [same])
    network = model(
        [node("If", "yes", "y", "if", **bodies)],
        [value("x", [2]), value("yes", [], TensorProto.BOOL)],
        [value("y", [2])],
    )
    editing.normalize(network)
    found = values.analyse(dataflow.flow(network), None, 32752.0)
    assert found["if/0:out"].high != found["if/1:out"].high
    _, report = lowered(network, "fp16")
    assert {name for name, _ in report.kept} in (
        {"else_branch_add", "else_branch_tanh"},
        {"then_branch_add", "then_branch_tanh"},
    )


def test_networks_that_were_right_keep_nothing():
    """Activations, gates, means and softmaxes between weighted operators are half precision's daily work."""
    nodes = [
        node("Sigmoid", "a", "g"),
        node("Mul", "a g", "b"),
        node("MatMul", "b w", "c"),
        node("Mul", "c b", "d"),
        node("Mul", "d hundred", "e"),
        node("Softmax", "e", "f", axis=-1),
        node("Add", "f a", "h"),
        node("Clip", "h low high", "i"),
        node("ReduceMean", "i", "m", axes=[1]),
        node("Sub", "i m", "n"),
        node("Div", "n eight", "y"),
    ]
    constants = {"hundred": scalar(100), "low": scalar(0), "high": scalar(6), "eight": scalar(8)}
    network, feeds = rows(nodes, constants)
    editing.normalize(network)
    for precision in ("fp16", "bf16"):
        for ranges in (None, measured(network, feeds)):
            assert lowered(network, precision, ranges)[1].kept == ()


def _tf32(array):
    """FP32 with the ten bits behind the leading one that TF32 keeps; 16-bit values as they are."""
    if array.dtype != np.float32:
        return array
    bits = np.ascontiguousarray(array).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32).reshape(array.shape)


@pytest.mark.parametrize(("precision", "allowed"), [("fp16", 0.01), ("bf16", 0.06)])
@pytest.mark.parametrize("make", SHARES)
def test_gpus_that_multiply_in_tf32_divide_by_the_same(make, precision, allowed, monkeypatch):
    """TensorRT-RTX 1.5 computes FP32 products in TF32 on an H100 although its flag is off; not so the reference."""
    network, feeds = make()
    editing.normalize(network)
    wanted = run(network, feeds)["y"]
    half, _ = lowered(network, precision)
    for op in (op_matmul.MatMul, op_gemm.Gemm_7, op_conv.Conv, op_conv_transpose.ConvTranspose):
        exact = op._run

        def rounded(self, first, second, *rest, exact=exact, **attributes):
            (found,) = exact(self, _tf32(first), _tf32(second), *rest, **attributes)
            return (found.astype(first.dtype),)

        monkeypatch.setattr(op, "_run", rounded)
    with np.errstate(all="ignore"):
        (found,) = ReferenceEvaluator(half).run(None, feeds)
    known = ~np.isnan(wanted)
    assert np.abs(np.float64(found) - wanted)[known].max() <= allowed * np.abs(wanted[known]).max()


def test_a_product_of_16_bit_values_is_split_once_and_one_of_fp32_twice():
    network, _ = shares_of_channels()
    editing.normalize(network)
    half, report = lowered(network, "fp16")
    made = [one.op_type for one in half.graph.node]
    assert made.count("Conv") == 1  # a Tanh reads it
    assert made.count("ConvTranspose") == 2
    assert dict(report.kept)["ConvTranspose_d"] == "'t' goes into Div and may cancel out, down to 0"
    network, _ = sum_of_both_signs()
    editing.normalize(network)
    half, _ = lowered(network, "fp16")
    assert [one.op_type for one in half.graph.node].count("MatMul") == 3 + 1


def test_a_norm_that_nothing_is_added_to_may_be_of_a_row_that_is_nearly_nothing():
    """Its squares are computed inside of the operator: of 1e-6 they are 0 in float16."""
    nodes = [
        node("Abs", "x", "b"),
        node("Add", "b tiny", "c"),
        node("LpNormalization", "c", "n"),
        node("Add", "a n", "y"),
    ]
    network, feeds = rows(nodes, {"tiny": scalar(1e-6)})
    editing.normalize(network)
    half, report = lowered(network, "fp16", measured(network, feeds))
    (found,) = strict.run(half, feeds).values()
    assert np.abs(found - run(network, feeds)["y"]).max() < 0.01
    assert "may be as small as 0" in dict(report.kept)["LpNormalization_n"]


def test_divisors_that_cannot_cancel_out_keep_no_product():
    """Nor do those whose two sides are computed from the same product: both have its roundings."""
    softmax = [
        node("ReduceMax", "a", "m", axes=[1]),
        node("Sub", "a m", "b"),
        node("Exp", "b", "e"),
        node("ReduceSum", "e ax", "s", keepdims=1),
        node("Div", "e s", "y"),
    ]
    swish = [node("Neg", "a", "n"), node("Exp", "n", "e"), node("Add", "e one", "s"), node("Div", "a s", "y")]
    linear = [
        node("Elu", "a", "e"),
        node("Add", "e one", "f"),
        node("ReduceSum", "f ax", "s", keepdims=1),
        node("Div", "f s", "y"),
    ]
    plain = [rows(nodes, {"ax": np.int64([1]), "one": scalar(1)}) for nodes in (softmax, swish, linear)]
    for network, feeds in (*plain, rms_mul(), variance_as_a_difference(), variance_bounded()):
        editing.normalize(network)
        for ranges in (None, measured(network, feeds)):
            assert "MatMul_a" not in dict(lowered(network, "fp16", ranges)[1].kept)


def controlled(op, inner, constants, factor):
    """``z`` comes of a body that scales ``a`` and more, beyond float16 or below it, and is scaled back."""
    if op == "If":
        names = ("then_branch", "else_branch")
        bodies = {one: helper.make_graph(inner(one, "a"), one, [], [value(f"o_{one}", [8, 32])]) for one in names}
        nodes = [node("Squeeze", "yes", "scalar"), node("If", "scalar", "z", **bodies)]
    elif op == "Loop":
        ends = [[value(name, [], TensorProto.BOOL)] for name in ("go", "again")]
        ends[0][:0] = [value("turn", [], TensorProto.INT64)]
        ends[0] += [value("state", [8, 32])]
        ends[1] += [value("o_body", [8, 32])]
        body = helper.make_graph([node("Identity", "go", "again"), *inner("body", "state")], "body", *ends)
        nodes = [node("Squeeze", "yes", "scalar"), node("Squeeze", "one", "count")]
        nodes.append(node("Loop", "count scalar a", "z", body=body))
    else:
        body = helper.make_graph(inner("body", "row"), "body", [value("row", [32])], [value("o_body", [32])])
        nodes = [node("Scan", "a", "z", body=body, num_scan_inputs=1)]
    others = {} if op == "Scan" else {"yes": np.array([True])}
    return rows([*nodes, node("Mul", "z back", "y")], {**constants, "one": np.int64([1]), "back": factor}, **others)


@pytest.mark.parametrize("op", ["If", "Loop", "Scan"])
@pytest.mark.parametrize("factor", [1e-5, 1e7])
def test_a_body_of_which_nothing_was_measured_computes_in_the_type_that_its_results_need(op, factor):
    def inner(name, x):
        return [
            node("MatMul", f"{x} g", f"p_{name}"),
            node("Sigmoid", x, f"q_{name}"),
            node("Mul", f"q_{name} p_{name}", f"o_{name}"),
        ]

    network, feeds = controlled(op, inner, {"g": WEIGHT / scalar(factor)}, scalar(factor))
    editing.normalize(network)
    wanted, ranges = run(network, feeds)["y"], measured(network, feeds)
    half, report = lowered(network, "fp16", ranges)
    (found,) = strict.run(half, feeds).values()
    assert np.abs(np.float64(found) - wanted).max() <= 0.01 * np.abs(wanted).max()
    assert any("'z'" in why for _, why in report.kept)


def test_whole_numbers_among_the_constants_are_no_positions():
    """Of 300 and 1000 bfloat16 holds 8 bits, as it does of any factor."""
    network, feeds = rows([node("Mul", "a c", "b"), node("Div", "b d", "y")], {"c": scalar(300), "d": scalar(1000)})
    editing.normalize(network)
    assert lowered(network, "bf16")[1].kept == ()
    assert lowered(network, "bf16", measured(network, feeds))[1].kept == ()


def test_bfloat16_leaves_what_tensorrt_takes_in_float16_only():
    gru = {"gw": np.zeros((1, 24, 32)), "gr": np.zeros((1, 24, 8))}
    constants = {name: array.astype(np.float32) for name, array in gru.items()}
    nodes = [
        node("Mish", "a", "m"),
        node("Unsqueeze", "m ax", "u"),
        node("Unsqueeze", "u ax", "v"),
        node("LpPool", "v", "l", kernel_shape=[1, 1], p=2),
        node("Squeeze", "l ax", "s"),
        node("GRU", "s gw gr", "y", hidden_size=8),
    ]
    network, _ = rows(nodes, {**constants, "ax": np.int64([0])}, shape=(1, 1, 8, 8))
    network.opset_import[0].version = 18
    editing.normalize(network)
    _, report = lowered(network, "bf16")
    assert {name for name, why in report.kept if "has no bfloat16 form" in why} == {"Mish_m", "LpPool_l", "GRU_y"}
    assert "Mish_m" not in dict(lowered(network, "fp16")[1].kept)


@pytest.mark.parametrize("make", [log_mel, rotary_product])
@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_quantization_leaves_out_what_half_precision_would_spoil(make, precision):
    """A filter bank before a logarithm, and positions before a sine, keep their digits."""
    network, feeds = make()
    editing.normalize(network)
    wanted, ranges = run(network, feeds)["y"], measured(network, feeds)
    quantized = copy.deepcopy(network)
    done = lowering.apply(quantized, lowering.Recipe(precision), ranges, ranges)
    assert [one.node for one in done.plan.weighted] == ["MatMul_a"]
    (found,) = strict.run(quantized, feeds).values()
    assert decibels(wanted, found) > (24 if make is log_mel else 30)

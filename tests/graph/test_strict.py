"""Strict arithmetic against onnx's ReferenceEvaluator: the same numbers, NaN and infinity in the same places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops._op_list import (
    GlobalAveragePool,
    LayerNormalization,
    ReduceL2_1,
    ReduceL2_18,
    ReduceMean_1,
    ReduceMean_18,
    ReduceSum_13,
    Softmax,
)

from tests import networks
from tests.cases import onnx_files
from tests.networks import Arrays, model, node, value
from trtconv.graph import editing, lowering, model_io, steps, strict

HALF, BRAIN = TensorProto.FLOAT16, TensorProto.BFLOAT16
DTYPES = {HALF: np.float16, BRAIN: ml_dtypes.bfloat16}
RECIPES = [("fp16", "fp16"), ("bf16", "bf16"), ("int8", "fp16"), ("int8", "bf16"), ("fp8", "fp16"), ("fp8", "fp32")]


def _summed_in_fp32(run: Any) -> Any:
    """The reference sums bfloat16, and float16 over outer axes, one by one: 256 for a thousand ones. No engine does."""

    def patched(self: Any, x: Any, *rest: Any, **options: Any) -> Any:
        if x.dtype not in DTYPES.values():
            return run(self, x, *rest, **options)
        options = {name: x.dtype if name == "dtype" else one for name, one in options.items()}
        return (np.asarray(run(self, x.astype(np.float32), *rest, **options)[0]).astype(x.dtype),)

    return patched


def _softmax(self: Any, x: Any, axis: int | None = None) -> Any:
    """The reference's steps, but for the sum."""
    axis = self.axis if axis is None else axis
    power = np.exp(x - x.max(axis=axis, keepdims=True))
    return ((power / power.astype(np.float32).sum(axis=axis, keepdims=True).astype(x.dtype)).astype(x.dtype),)


def _layer_norm(
    self: Any, x: Any, scale: Any, bias: Any = None, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """As the standard has it: stash_type 1 is FP32 up to the normalized values. The reference ignores it."""
    wide, axes = x.astype(np.float32), tuple(range(axis % x.ndim, x.ndim))
    normalized = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + epsilon)
    scaled = (normalized.astype(x.dtype) * scale).astype(x.dtype)
    return (scaled if bias is None else (scaled + bias).astype(x.dtype),)


def _reduce_l2(self: Any, data: Any, axes: Any = None, **_: Any) -> Any:
    """Squares of the type, their sum in FP32, its root of the type; the reference sums bfloat16 one by one."""
    axes = axes if axes is not None else getattr(self, "axes", None)
    over = tuple(int(axis) for axis in np.reshape(axes, -1)) if axes is not None and np.size(axes) else None
    total = (data * data).astype(np.float32).sum(axis=over, keepdims=self.keepdims != 0).astype(data.dtype)
    return (np.sqrt(total.astype(np.float32)).astype(data.dtype),)


def _rounded(function: Any) -> Any:
    """A function of NumPy that rounds its exact value; some versions compute float16 by another way."""

    def patched(x: Any, *rest: Any, **options: Any) -> Any:
        if np.asarray(x).dtype not in DTYPES.values():
            return function(x, *rest, **options)
        return function(np.asarray(x).astype(np.float32), *rest, **options).astype(np.asarray(x).dtype)

    return patched


OTHERS = {Softmax: _softmax, LayerNormalization: _layer_norm, ReduceL2_1: _reduce_l2, ReduceL2_18: _reduce_l2}


def reference(typed: Any, feeds: Arrays) -> Arrays:
    """By onnx's ReferenceEvaluator, with sums in FP32 and normalizations as the standard defines them."""
    runs = {op: _summed_in_fp32(op._run) for op in (ReduceMean_1, ReduceMean_18, ReduceSum_13, GlobalAveragePool)}
    with ExitStack() as stack:
        for op, run in (runs | OTHERS).items():
            stack.enter_context(mock.patch.object(op, "_run", run))
        for name in ("exp", "tanh"):
            stack.enter_context(mock.patch.object(np, name, _rounded(getattr(np, name))))
        stack.enter_context(np.errstate(all="ignore"))
        evaluator = ReferenceEvaluator(typed)
        return dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))


TIES = 5e-4
"""Share of values that may be one rounding apart: sums in another order fall to the other side of a tie."""


def steps_of(array: Any) -> float:
    """One rounding of a result's type, or of a float8 or bfloat16 tensor on the way to an FP32 one."""
    return 2.0**-8 if np.asarray(array).dtype in (np.float32, ml_dtypes.bfloat16) else 1e-3


def assert_same(got: Arrays, wanted: Arrays) -> None:
    assert list(got) == list(wanted)
    for name, expected in wanted.items():
        made, expected = got[name], np.asarray(expected)
        assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
        made, expected = made.astype(np.float64), expected.astype(np.float64)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.where(finite, 0, made), np.where(finite, 0, expected), err_msg=name)
        made, expected = made[finite], expected[finite]
        apart, peak = np.abs(made - expected), np.abs(expected).max(initial=0)
        assert (apart > 1e-3 * peak).sum() <= TIES * apart.size, name
        assert apart.max(initial=0) <= max(1e-3, steps_of(wanted[name])) * peak, name


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def masked_encoder(width: int = 32, heads: int = 2) -> Any:
    """Attention with a mask of the lowest float, made by Where and Expand, then a normalization in single operators."""
    size = width // heads
    weights = {f"{name}_w": normal(width, width, seed=i, scale=width**-0.5) for i, name in enumerate("qkvo")}
    constants: Arrays = {
        **weights,
        "apart": np.array([0, 0, heads, size]),
        "joined": np.array([0, 0, width]),
        "scale": np.float32(size**-0.5),
        "lowest": np.float32(np.finfo(np.float32).min),
        "zero": np.float32(0),
        "middle": np.array([1, 2]),
        "epsilon": np.float32(1e-5),
        "gain": normal(width, seed=8),
        "one": np.ones(1, np.int64),
    }
    nodes = [
        node("Unsqueeze", "mask middle", "m4"),
        node("Where", "m4 zero lowest", "bias"),
        node("Shape", "mask", "sizes"),
        node("Concat", "sizes one one", "wide", axis=0),
    ]
    for name in "qkv":
        nodes += [
            node("MatMul", f"x {name}_w", name),
            node("Reshape", f"{name} apart", f"{name}4"),
            node("Transpose", f"{name}4", f"{name}t", perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", "qt kt", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Add", "scaled bias", "masked"),
        node("Softmax", "masked", "shares", axis=-1),
        node("MatMul", "shares vt", "mixed"),
        node("Transpose", "mixed", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned joined", "flat"),
        node("MatMul", "flat o_w", "out"),
        node("Add", "x out", "sum"),
        node("ReduceMean", "sum", "mean", axes=[-1]),
        node("Sub", "sum mean", "centred"),
        node("Mul", "centred centred", "squares"),
        node("ReduceMean", "squares", "variance", axes=[-1]),
        node("Add", "variance epsilon", "floored"),
        node("Sqrt", "floored", "deviation"),
        node("Div", "centred deviation", "normalized"),
        node("Mul", "normalized gain", "y"),
    ]
    nodes = [one for one in nodes if one.op_type not in ("Shape", "Concat")]
    ends = [value("x", ["batch", "tokens", width]), value("mask", ["batch", "tokens"], TensorProto.BOOL)]
    return model(nodes, ends, [value("y", ["batch", "tokens", width])], constants)


def control_flow() -> Any:
    """An If whose branches capture a weight, then a Loop that multiplies and adds until it has run four times."""
    kind = TensorProto.FLOAT
    branch = [
        helper.make_graph([node("MatMul", "x w", f"{name}_p"), node(op, f"{name}_p", name)], name, [], [value(name)])
        for name, op in (("yes", "Tanh"), ("no", "Sigmoid"))
    ]
    body = helper.make_graph(
        [
            node("MatMul", "state w", "product"),
            node("Add", "product third", "next"),
            node("ReduceMean", "next", "seen", axes=[0], keepdims=0),
            node("Identity", "on", "still"),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("on", [], TensorProto.BOOL), value("state", None, kind)],
        [value("still", [], TensorProto.BOOL), value("next", None, kind), value("seen", None, kind)],
        [networks.constant(np.float32(1 / 3), "third")],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["chosen"], "if", then_branch=branch[0], else_branch=branch[1]),
        helper.make_node("Loop", ["four", "go", "chosen"], ["last", "all"], "loop", body=body),
        node("Softmax", "all", "y", axis=-1),
    ]
    ends = [value("x", [4, 16]), value("flag", [], TensorProto.BOOL)]
    outputs = [value("last", [4, 16]), value("y", [4, 16])]
    network = model(nodes, ends, outputs, {"w": normal(16, 16, scale=0.3)}, check=False)
    scalars = ("four", TensorProto.INT64, 4), ("go", TensorProto.BOOL, True)
    network.graph.initializer.extend(helper.make_tensor(name, kind, [], [one]) for name, kind, one in scalars)
    return network


MASK = np.arange(6)[None] >= np.array([[0], [2], [4]])  # the first sample has all its tokens, the last two of six
NETWORKS: Mapping[str, Callable[[], tuple[Any, Arrays]]] = {
    "perceptron": lambda: (networks.perceptron(), {"x": normal(16, 64)}),
    "digits": lambda: (networks.residual_cnn(blocks=4), {"image": networks.images(8)}),
    "encoder": lambda: (networks.encoder(), {"x": normal(4, 16, 64)}),
    "masked": lambda: (masked_encoder(), {"x": normal(3, 6, 32), "mask": MASK}),
    "lstm": lambda: (networks.recurrent(), {"x": normal(12, 3, 32)}),
    "if-loop": lambda: (control_flow(), {"x": normal(4, 16), "flag": np.array(True)}),
}


@pytest.mark.parametrize(("precision", "base"), RECIPES, ids=["-".join(one) for one in RECIPES])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_lowered_network_is_computed_as_the_reference_computes_it(name: str, precision: str, base: str) -> None:
    network, feeds = NETWORKS[name]()
    editing.normalize(network)
    ranges = networks.magnitudes(network, feeds)
    lowering.apply(network, lowering.Recipe(precision, base), ranges, ranges)
    before = network.SerializeToString()

    got = strict.run(network, feeds)

    assert network.SerializeToString() == before
    assert_same(got, reference(network, feeds))


CASES = {
    "hfmask-prefill": ("hfmask", "hfmask", "prefill"),
    "hfmask-step": ("hfmask", "hfmask", "step"),
    "l2norm": ("l2norm", "l2norm", "l2norm"),
    "rope-1k": ("rope", "rope", "rope_1k"),
    "rope-4k": ("rope", "rope", "rope_4k"),
    "tstep": ("tstep", "tstep", "tstep"),
    "rms-mul": ("rms_eps", "rms_mul", "rms"),
    "rms-pow": ("rms_eps", "rms_pow", "rms"),
    "ort-fp16": ("ort_fp16", "ort_fp16", "ort_fp16"),
    "concat-share": ("concat_share", "concat_share", "concat_share"),
    "logmax": ("logmel_calib", "logmax", "lm"),
    "divnonan": ("logmel_calib", "divnonan", "lm"),
    "rnn-state": ("rnn_state", "rnn_batch", "rnn_batch"),
}
"""Row -> function of tests/cases/onnx_files.py, model, samples."""


def finite_magnitudes(network: Any, feeds: Arrays) -> dict[str, float]:
    found = networks.everything(network, feeds)
    return {name: float(np.abs(array[np.isfinite(array)]).max(initial=0)) for name, array in found.items()}


@pytest.mark.parametrize("measured", [True, False], ids=["measured", "plain"])
@pytest.mark.parametrize(("precision", "base"), RECIPES, ids=["-".join(one) for one in RECIPES])
@pytest.mark.parametrize("name", CASES)
def test_a_case_is_computed_as_the_reference_computes_it(
    name: str, precision: str, base: str, measured: bool, tmp_path: Path
) -> None:
    maker, file, samples = CASES[name]
    getattr(onnx_files, maker)(tmp_path)
    network, feeds = onnx.load(tmp_path / f"{file}.onnx"), dict(np.load(tmp_path / f"{samples}.npz"))
    editing.normalize(network)
    ranges = finite_magnitudes(network, feeds)
    lowering.apply(network, lowering.Recipe(precision, base), ranges, ranges if measured else None)

    assert_same(strict.run(network, feeds), reference(network, feeds))


def everywhere(network: Any, kind: int) -> Any:
    """Every FP32 tensor of a model in another type."""
    dtype = DTYPES[kind]
    for graph in editing.graphs(network.graph):
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                with np.errstate(over="ignore"):
                    values = numpy_helper.to_array(tensor).astype(dtype)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        for end in (*graph.input, *graph.output, *graph.value_info):
            if end.type.tensor_type.elem_type == TensorProto.FLOAT:
                end.type.tensor_type.elem_type = kind
    return network


@pytest.mark.parametrize("kind", [HALF, BRAIN], ids=["fp16", "bf16"])
@pytest.mark.parametrize("flag", [True, False])
def test_control_flow_in_half_precision_throughout(kind: int, flag: bool) -> None:
    network = everywhere(control_flow(), kind)
    if kind == BRAIN:
        editing.require_opset(network, 22)
    feeds = {"x": normal(4, 16).astype(DTYPES[kind]), "flag": np.array(flag)}

    assert_same(strict.run(network, feeds), reference(network, feeds))


def overflowing() -> dict[str, tuple[list[Any], Arrays, np.ndarray]]:
    """Nodes from x to y that leave the range of float16 or lose what it cannot hold, constants, x."""
    zero_row = normal(4, 32)
    zero_row[2] = 0
    rms = [
        node("ReduceMean", "s", "m", axes=[-1]),
        node("Add", "m e", "v"),
        node("Sqrt", "v", "r"),
        node("Div", "x r", "y"),
    ]
    attend = [node("Where", "hide low scores", "m"), node("Softmax", "m", "y")]
    hidden = np.zeros((4, 32), bool)
    hidden[:, 20:], hidden[1] = True, True
    return {
        "absorbed": ([node("Add", "x big", "a"), node("Sub", "a big", "y")], {"big": np.float32(60000)}, normal(4, 32)),
        "squares by Mul": ([node("Mul", "x x", "s"), *rms], {"e": np.float32(1e-3)}, normal(4, 32, scale=300)),
        "squares by Pow": (
            [node("Pow", "x two", "s"), *rms],
            {"e": np.float32(1e-3), "two": np.float32(2)},
            normal(4, 32, scale=300),
        ),
        "0 / 0": (
            [node("ReduceL2", "x", "n", axes=[1]), node("Clip", "n e", "c"), node("Div", "x c", "y")],
            {"e": np.float32(1e-12)},
            zero_row,
        ),
        "infinite mask": (
            [node("Add", "x zero", "scores"), *attend],
            {"hide": hidden, "low": np.float32(-3.4e38), "zero": np.float32(0)},
            normal(4, 32),
        ),
        "subnormal": ([node("Mul", "x e", "a"), node("Div", "a e", "y")], {"e": np.float32(3e-7)}, normal(4, 32)),
    }


@pytest.mark.parametrize("kind", [HALF, BRAIN], ids=["fp16", "bf16"])
@pytest.mark.parametrize("name", overflowing())
def test_what_half_precision_loses_is_lost(name: str, kind: int) -> None:
    nodes, constants, x = overflowing()[name]
    network = model(nodes, [value("x", [4, 32])], [value("y", [4, 32])], constants, check=False)
    everywhere(network, kind)
    if kind == BRAIN:
        editing.require_opset(network, 22)
    feeds = {"x": x.astype(DTYPES[kind])}

    assert_same(strict.run(network, feeds), reference(network, feeds))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
        (TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn),
        (TensorProto.FLOAT8E5M2, ml_dtypes.float8_e5m2),
    ],
)
def test_every_value_of_a_type_its_neighbours_and_the_ties_between_them_round_as_numpy_rounds(
    kind: int, dtype: Any
) -> None:
    bits = np.dtype(dtype).itemsize * 8
    values = np.arange(1 << bits).astype(f"uint{bits}").view(dtype).astype(np.float32)
    values = np.sort(values[np.isfinite(values)])
    ties = values[:-1] / 2 + values[1:] / 2
    extremes = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65519.996, 65520, 3.4e38, 1e-45], np.float32)
    x = np.concatenate(
        [values, ties, np.nextafter(ties, np.float32(9e9)), np.nextafter(ties, -np.float32(9e9)), extremes]
    )
    nodes = [node("Cast", "x", "low", to=kind), node("Cast", "low", "y", to=TensorProto.FLOAT)]
    network = model(nodes, [value("x", ["n"])], [value("y", ["n"])], opset=21)

    with np.errstate(all="ignore"):
        narrow = numpy_helper.saturate_cast(x, np.dtype(dtype)) if bits == 8 else x.astype(dtype)
    np.testing.assert_array_equal(strict.run(network, {"x": x})["y"], narrow.astype(np.float32))


def one_node(op: str) -> tuple[Any, Arrays]:
    """A model of one operator of the table of steps, with what it needs beside x [4, 6, 8]."""
    vector = {name: normal(6, seed=i) for i, name in enumerate(("s", "b", "m"))} | {"v": np.abs(normal(6, seed=4))}
    recurrent = {
        name: normal(*shape, seed=5, scale=0.4)
        for name, shape in {"W": (2, 20, 8), "R": (2, 20, 5), "B": (2, 40)}.items()
    }
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}.get(op, 0)
    cut = {k: v[:, : (2 if k == "B" else 1) * 5 * gates] for k, v in recurrent.items()}
    inputs, constants, options = {
        "BatchNormalization": ("x s b m v", vector, {}),
        "Conv": ("x k b", {"k": normal(6, 6, 3, seed=3), "b": vector["b"]}, {"pads": [1, 1]}),
        "Gemm": ("flat k c", {"k": normal(8, 5), "c": normal(5, seed=2)}, {"alpha": 0.7, "beta": 1.3}),
        "LayerNormalization": ("x g h", {"g": normal(8), "h": normal(8, seed=2)}, {}),
        "RMSNormalization": ("x g", {"g": normal(8)}, {}),
        "QuantizeLinear": ("x q z", {"q": vector["v"] / 30 + 0.01, "z": np.zeros(6, np.int8)}, {"axis": 1}),
        "Sum": ("x x x", {}, {}),
        "Mean": ("x x x", {}, {}),
        **dict.fromkeys(("LSTM", "GRU", "RNN"), ("x W R B", cut, {"hidden_size": 5, "direction": "bidirectional"})),
    }.get(op, ("x", {}, {}))
    nodes = [node(op, inputs, "y", **options)]
    if op == "Gemm":
        nodes.insert(0, node("Flatten", "x", "flat", axis=2))
    return model(nodes, [value("x", [4, 6, 8])], [onnx.ValueInfoProto(name="y")], constants, opset=23, check=False)


SUMMING = {"LogSoftmax", "LpNormalization", "ReduceL2", "ReduceLogSum", "ReduceSumSquare"}
"""In bfloat16 the reference sums these one by one in bfloat16."""


@pytest.mark.parametrize("scale", [1, 250], ids=["", "large"])
@pytest.mark.parametrize(
    ("op", "kind"), [(op, k) for op in steps.OPERATORS for k in (HALF, BRAIN) if k == HALF or op not in SUMMING]
)
def test_an_operator_of_several_steps_rounds_each(op: str, kind: int, scale: float) -> None:
    network = everywhere(one_node(op), kind)
    feeds = {"x": normal(4, 6, 8, seed=9, scale=scale).astype(DTYPES[kind])}
    if op == "RMSNormalization":  # the reference ignores its stash_type, as for LayerNormalization
        wide = feeds["x"].astype(np.float32)
        norm = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5)
        wanted = {"y": norm.astype(DTYPES[kind]) * normal(8).astype(DTYPES[kind])}
    else:
        wanted = reference(network, feeds)

    assert_same(strict.run(network, feeds), wanted)


def test_local_functions_sequences_and_outputs_that_are_inputs() -> None:
    double = helper.make_function(
        "own", "Double", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("Double", ["x"], ["d"], domain="own"),
        node("SplitToSequence", "d", "parts", axis=0),
        node("SequenceAt", "parts zero", "first"),
        node("Concat", "first x", "y", axis=0),
        node("Identity", "x", "same"),
    ]
    outputs = [value("y", [5, 3]), value("same", [4, 3])]
    network = everywhere(model(nodes, [value("x", [4, 3])], outputs, check=False), HALF)
    network.graph.initializer.append(helper.make_tensor("zero", TensorProto.INT64, [], [0]))
    network.functions.append(double)
    network.opset_import.append(helper.make_opsetid("own", 1))
    feeds = {"x": normal(4, 3, scale=40000).astype(np.float16)}

    assert_same(strict.run(network, feeds), reference(network, feeds))


def test_weights_in_a_file_of_their_own_are_not_loaded_to_be_computed(tmp_path: Path) -> None:
    weights = {"w": normal(64, 96), "b": normal(96)}
    network = everywhere(
        model([node("Gemm", "x w b", "y")], [value("x", ["n", 64])], [value("y", ["n", 96])], weights), HALF
    )
    feeds = {"x": normal(5, 64).astype(np.float16)}
    wanted = reference(network, feeds)
    onnx.save(network, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)

    assert "w" not in [
        t.name for t in model_io.load(tmp_path / "m.onnx", outside=False).graph.initializer if t.raw_data
    ]
    assert_same(strict.open_file(tmp_path / "m.onnx").run(feeds), wanted)


def test_a_plain_model_runs_as_it_is(tmp_path: Path) -> None:
    onnx.save(networks.perceptron(), tmp_path / "m.onnx")
    assert not strict.needed(networks.perceptron())
    assert not isinstance(strict.open_file(tmp_path / "m.onnx"), strict.Session)

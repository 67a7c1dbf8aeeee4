"""Operators that ONNX does not have, written with its own: against the kernels of ONNX Runtime, which has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from tests import networks
from trtconv.core.errors import ConversionError, TrtconvError
from trtconv.graph import check, clean, composition, editing, strict

MICROSOFT = "com.microsoft"
RANDOM = np.random.default_rng(0)
BATCH, LENGTH, HEADS, GROUPS, SIZE = 2, 4, 4, 2, 16
WIDTH = HEADS * SIZE


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@dataclass
class Case:
    """One node: its inputs in order (None: left out), its outputs, its attributes, and which inputs are constants."""

    op: str
    inputs: Sequence[np.ndarray | None]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    constants: Sequence[int] = ()
    label: str = ""
    domain: str = MICROSOFT

    def model(self) -> tuple[Any, dict[str, np.ndarray]]:
        """The model of the one node, with sizes open that are not needed, and what to feed it."""
        names = [f"in{n}" if array is not None else "" for n, array in enumerate(self.inputs)]
        node = helper.make_node(self.op, names, list(self.outputs), "node", domain=self.domain, **self.attributes)
        feeds, held, values = {}, [], []
        for n, array in enumerate(self.inputs):
            if array is not None and n in self.constants:
                held.append(numpy_helper.from_array(array, names[n]))
            elif array is not None:
                feeds[names[n]] = array
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                dims = ["batch", *array.shape[1:]] if array.shape[:1] == (BATCH,) else list(array.shape)
                values.append(helper.make_tensor_value_info(names[n], kind, dims))
        outputs = [onnx.ValueInfoProto(name=name) for name in self.outputs if name]
        graph = helper.make_graph([node], "one", values, outputs, held)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8), feeds


def run(model: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))


def composed(model: Any, operators: Mapping[str, Path | None] = {}) -> composition.Composed:
    composition.take_over(model, operators)
    clean.prepare(model)
    done = composition.compose(model, operators)
    clean.prepare(model)
    check.infer_shapes(model)
    check.validate(model)
    return done


def activations() -> Iterator[Case]:
    x, bias = floats(BATCH, LENGTH, WIDTH) * 3, floats(WIDTH)
    yield from (Case("Gelu", [x]), Case("BiasGelu", [x, bias]), Case("FastGelu", [x]), Case("FastGelu", [x, bias]))
    yield from (Case("QuickGelu", [x]), Case("QuickGelu", [x], {"alpha": 1.3}))


def normalizations() -> Iterator[Case]:
    x, skip, gamma = floats(BATCH, LENGTH, WIDTH), floats(BATCH, LENGTH, WIDTH), floats(WIDTH)
    both, more = ["y", "", "", "sum"], {"epsilon": 1e-3}
    for beta, bias in product((None, floats(WIDTH)), (None, floats(WIDTH))):
        yield Case("SkipLayerNormalization", [x, skip, gamma, beta, bias], more, both)
    yield Case("SkipLayerNormalization", [x, skip[:1], gamma], {})
    yield Case("SkipLayerNormalization", [x, skip[0], gamma], more, both)
    for bias in (None, floats(WIDTH)):
        yield Case("SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], more, both)
    yield Case("SimplifiedLayerNormalization", [x, gamma], {"epsilon": 1e-3, "axis": -1}, domain="")
    ids, mask = RANDOM.integers(0, 20, (BATCH, LENGTH)).astype(np.int32), np.array([[1, 1, 0, 0], [1] * 4], np.int32)
    tables = [floats(20, WIDTH), floats(8, WIDTH)], [gamma, floats(WIDTH)]
    for segments, ones, places in product((False, True), repeat=3):
        own = [RANDOM.integers(0, 2, ids.shape).astype(np.int32), floats(2, WIDTH)] if segments else [None, None]
        rest = [mask if ones else None, RANDOM.integers(0, 8, ids.shape).astype(np.int32) if places else None]
        inputs = [ids, own[0], *tables[0], own[1], *tables[1], *rest]
        yield Case("EmbedLayerNormalization", inputs, more, ["y", "lengths", "sum"])


def packed() -> Iterator[Case]:
    columns = 24
    for bits, zeros, (rows, block) in product((2, 4, 8), ("", "packed", "floats"), ((64, 32), (48, 32), (64, 16))):
        if bits == 8 and zeros == "floats":  # ONNX Runtime computes that on no processor
            continue
        blocks = -(-rows // block)
        weights = RANDOM.integers(0, 256, (columns, blocks, block * bits // 8)).astype(np.uint8)
        scales = (RANDOM.random((columns, blocks)) * 0.1).astype(np.float32)
        held: np.ndarray | None = None
        if zeros:
            held = RANDOM.integers(0, 256, (columns, -(-blocks * bits // 8))).astype(np.uint8)
            held = held if zeros == "packed" else RANDOM.integers(0, 1 << bits, (columns, blocks)).astype(np.float32)
        numbers = {"K": rows, "N": columns, "bits": bits, "block_size": block}
        inputs = [floats(BATCH, 3, rows), weights, scales, held]
        yield Case("MatMulNBits", inputs, numbers, constants=(1, 2, 3), label=f"{bits} bits, zeros {zeros or 'none'}")
    order, bias = RANDOM.integers(0, 2, 64).astype(np.int32), floats(columns)
    weights, scales = RANDOM.integers(0, 256, (columns, 2, 16)).astype(np.uint8), floats(columns, 2)
    numbers = {"K": 64, "N": columns, "bits": 4, "block_size": 32}
    yield Case("MatMulNBits", [floats(BATCH, 64), weights, scales, None, order, bias], numbers, constants=(1, 2, 4))


def rotary() -> Iterator[Case]:
    for interleaved, flat, partial, one in product((0, 1), (True, False), (0, 8), (True, False)):
        half = (partial or SIZE) // 2
        x = floats(BATCH, LENGTH, WIDTH) if flat else floats(BATCH, HEADS, LENGTH, SIZE)
        places = np.array([2], np.int64) if one else RANDOM.integers(0, 9, (BATCH, LENGTH))
        more = {"interleaved": interleaved, "num_heads": HEADS if flat or partial else 0}
        more |= {"rotary_embedding_dim": partial} if partial else {}
        yield Case("RotaryEmbedding", [x, places, floats(10, half), floats(10, half)], more)


def several_heads() -> Iterator[Case]:
    for mask, bias, past, one_way in product((False, True), (False, True), (0, 2), (0, 1)):
        total = past + LENGTH
        kept = np.ones((BATCH, total), np.int32)
        kept[1, -1] = 0
        cache = [floats(BATCH, HEADS, past, SIZE) if past else None for _ in range(2)]
        extra = [floats(3 * WIDTH) if bias else None, kept if mask else None, floats(1, HEADS, LENGTH, total), *cache]
        inputs = [*(floats(BATCH, LENGTH, WIDTH) for _ in range(3)), *extra]
        more = {"num_heads": HEADS, "unidirectional": one_way, **({"scale": 0.3} if mask else {})}
        yield Case("MultiHeadAttention", inputs, more, ["y", "keys", "values"] if past else ["y"])
    for form, past, one_way in product(("", "ends", "keys", "pairs"), (0, 2), (0, 1)):
        total = past + LENGTH
        masks = {
            "ends": np.array([total, total - 1], np.int32),
            "keys": np.array([[1] * total, [1] * (total - 1) + [0]], np.int32),
            "pairs": np.tril(np.ones((BATCH, LENGTH, total), np.int32), past),
        }
        narrow = WIDTH if past else 32
        inputs = [floats(BATCH, LENGTH, 10), floats(10, 2 * WIDTH + narrow), floats(2 * WIDTH + narrow)]
        more = {"num_heads": HEADS, "unidirectional": one_way, "qkv_hidden_sizes": [WIDTH, WIDTH, narrow]}
        held = floats(2, BATCH, HEADS, past, SIZE) if past else None
        outputs = ["y", "cache"] if past else ["y"]
        yield Case("Attention", [*inputs, masks.get(form), held], more, outputs, label=f"mask {form or 'none'}")


def grouped(batch: int, new: int, past: int, **more: Any) -> Case:
    """GroupQueryAttention of new tokens behind cached ones."""
    together, bias, turned, places = (more.pop(name, False) for name in ("together", "bias", "turned", "places"))
    total = past + new
    query = floats(batch, new, (HEADS + 2 * GROUPS) * SIZE if together else WIDTH)
    rest = [None, None] if together else [floats(batch, new, GROUPS * SIZE) for _ in range(2)]
    cache = [floats(batch, GROUPS, past, SIZE) for _ in range(2)]
    ends = [np.full(batch, total - 1, np.int32), np.array(total, np.int32)]
    tables = [floats(16, SIZE // 2), floats(16, SIZE // 2)] if turned else [None, None]
    last = [np.array([[4, 7]]) if places else None, floats(batch, HEADS, new, total) if bias else None]
    more = {"num_heads": HEADS, "kv_num_heads": GROUPS, "do_rotary": int(turned), **more}
    inputs = [query, *rest, *cache, *ends, *tables, *last]
    return Case("GroupQueryAttention", inputs, more, ["y", "keys", "values"], (6,), f"past {past}")


def group_queries() -> Iterator[Case]:
    for together, turned, past in product((False, True), (False, True), (0, 3)):
        form = {"together": together, "turned": turned}
        new = 1 if past else LENGTH
        yield grouped(BATCH, new, past, **form)
        yield grouped(BATCH, new, past, **form, local_window_size=2)
        yield grouped(BATCH, new, past, **form, bias=True)
        yield grouped(BATCH, new, past, **form, softcap=2.0, rotary_interleaved=int(turned))
    yield grouped(1, 2, 3, turned=True, places=True, scale=0.3)
    yield grouped(1, 2, 3)


def fused() -> Iterator[Case]:
    for turned, other in product((0, 1), repeat=2):
        sides = [floats(BATCH, 3, *((5, 4) if turned else (4, 5))), floats(BATCH, 3, *((6, 5) if other else (5, 6)))]
        yield Case("FusedMatMul", sides, {"transA": turned, "transB": other, "alpha": 0.5})
    weights, bias = floats(6, 4, 3, 3), floats(6)
    activations = {
        "Relu": [],
        "Tanh": [],
        "Sigmoid": [],
        "LeakyRelu": [0.2],
        "Clip": [-0.5, 0.7],
        "HardSigmoid": [0.3, 0.4],
    }
    for name, numbers in activations.items():
        more = {
            "activation": name,
            "pads": [1] * 4,
            "strides": [2, 2],
            **({"activation_params": numbers} if numbers else {}),
        }
        yield Case("FusedConv", [floats(BATCH, 4, 8, 8), weights, bias], more, label=name)
    more = {"activation": "Relu", "pads": [1] * 4}
    yield Case("FusedConv", [floats(BATCH, 4, 8, 8), weights, bias, floats(BATCH, 6, 8, 8)], more)
    for name, numbers in {"Relu": {}, "Tanh": {}, "LeakyRelu": {"activation_alpha": 0.2}}.items():
        more = {"activation": name, "transB": 1, "alpha": 0.5, "beta": 2.0, **numbers}
        yield Case("FusedGemm", [floats(BATCH, 4), floats(6, 4), floats(6)], more, label=name)


def same() -> Iterator[Case]:
    yield Case("Trilu", [floats(4, 4), np.array(1)], {"upper": 0})
    yield Case("Pad", [floats(4, 4), np.array([1, 0, 2, 1]), np.array([0.5], np.float32)], {"mode": "constant"})
    yield Case("Range", [np.float32(1), np.float32(5), np.float32(0.5)])
    yield Case("GridSample", [floats(1, 2, 4, 4), floats(1, 3, 3, 2)], {"mode": "bilinear"})
    yield Case("QuantizeLinear", [floats(4, 4), np.float32(0.1), np.int8(3)])
    yield Case("DequantizeLinear", [RANDOM.integers(-9, 9, (4, 4)).astype(np.int8), np.float32(0.1), np.int8(3)])


def ragged() -> Iterator[Case]:
    """Sequences of different lengths: the new tokens stand behind those of the cache that count."""
    for turned, window, ends in product((False, True), (-1, 2), (0, 1, 2)):
        case = grouped(BATCH, 1, 3, turned=turned, local_window_size=window)
        assert case.inputs[5] is not None
        case.inputs[5][1] = ends
        yield case


KINDS = (activations, normalizations, packed, rotary, several_heads, group_queries, ragged, fused, same)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_as_the_kernel(kind: Any) -> None:
    for case in kind():
        model, feeds = case.model()
        wanted = run(model, {name: np.asarray(array) for name, array in feeds.items()})
        done = composed(model)
        assert not done.left, (case.op, case.label, done.left)
        assert {node.domain for _, node in editing.walk(model.graph)} == {""}
        found = run(model, {name: np.asarray(array) for name, array in feeds.items()})
        for reference, array in zip(wanted, found, strict=True):
            assert array.dtype == reference.dtype
            np.testing.assert_allclose(
                array, reference, atol=1e-5 * max(1, float(np.abs(reference).max(initial=0))), err_msg=str(case.label)
            )


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16])
def test_in_the_types_of_a_typed_model(kind: int) -> None:
    """What is written for a typed node is of its types, and computes the same but for their rounding."""
    for case in [*activations(), *normalizations(), *rotary(), *several_heads(), *group_queries()][::5]:
        model, feeds = case.model()
        composed(model)
        wanted = run(model, feeds)
        typed, _ = case.model()
        for value in typed.graph.input:
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                value.type.tensor_type.elem_type = kind
        assert not composed(typed).left, case.op
        assert {value.type.tensor_type.elem_type for value in typed.graph.output} <= {kind, onnx.TensorProto.INT32}
        found = run(strict.rewrite(typed), feeds)  # ONNX Runtime has few kernels for bfloat16
        slack = 0.03 if kind == onnx.TensorProto.FLOAT16 else 0.2
        for reference, array in zip(wanted, found, strict=True):
            near = slack * max(1, float(np.abs(reference).max(initial=0)))
            np.testing.assert_allclose(array, reference, atol=near, err_msg=f"{case.op} {case.label}")


@pytest.mark.parametrize(
    "network", [networks.residual_cnn, networks.encoder, networks.perceptron, networks.convolutions]
)
def test_what_onnx_runtime_saves_of_a_model_that_it_has_optimized(network: Any, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    source = network()
    onnxruntime.InferenceSession(source.SerializeToString(), options, providers=["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "optimized.onnx")
    assert any(node.domain == MICROSOFT for node in model.graph.node)
    done = composed(model)
    assert not done.left
    feeds = {}
    for value in source.graph.input:
        dims = [dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim]
        whole = value.type.tensor_type.elem_type == onnx.TensorProto.INT64
        feeds[value.name] = RANDOM.integers(0, 9, dims) if whole else floats(*dims)
    for reference, array in zip(run(source, feeds), run(model, feeds), strict=True):
        np.testing.assert_allclose(array, reference, atol=1e-5 * max(1, float(np.abs(reference).max())))


def test_every_writer_has_a_case() -> None:
    from trtconv.graph.contrib import WRITERS

    assert {case.op for kind in KINDS for case in kind()} == {op for _, op in WRITERS}


NUMBERS = {"K": 64, "N": 8, "bits": 4, "block_size": 32}
WEIGHTS = [floats(2, 64), RANDOM.integers(0, 256, (8, 2, 16)).astype(np.uint8), floats(8, 2)]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Case("MatMulNBits", WEIGHTS, NUMBERS, constants=(2,)), "weights B is no constant"),
        (Case("MatMulNBits", WEIGHTS, {**NUMBERS, "weight_prepacked": 1}, constants=(1, 2)), "weight_prepacked"),
        (Case("SkipLayerNormalization", [floats(2, 4), floats(2, 4), floats(4)], {}, ["y", "mean"]), "mean is read"),
        (grouped(BATCH, LENGTH, 0, smooth_softmax=1), "smooth_softmax is 1"),
        (grouped(BATCH, 1, 3, causal=0), "causal is 0"),
        (Case("Trilu", [np.ones((2, 2), np.float32), None], {"what": 1}), "Trilu does not take"),
    ],
)
def test_what_is_not_written_stays(case: Case, says: str) -> None:
    model, _ = case.model()
    clean.prepare(model)
    done = composition.compose(model, {})
    assert [node.op_type for node in model.graph.node] == [case.op]
    assert says in next(iter(done.left.values()))


def test_a_cache_of_fixed_size_stays() -> None:
    case = grouped(1, 1, 8)
    case.inputs = [*case.inputs[:6], np.array(5, np.int32), *case.inputs[7:]]
    model, _ = case.model()
    clean.prepare(model)
    assert "does not grow: 8 tokens and 1 more are 5" in next(iter(composition.compose(model, {}).left.values()))


QUICK = """<domain: "my.domain", opset_import: ["" : 15]>
Quick <alpha: float = 1.702> (x) => (y) {
  a = Constant <value_float: float = @alpha> ()
  slope = CastLike (a, x)
  product = Mul (slope, x)
  share = Sigmoid (product)
  y = Mul (x, share)
}"""
USES = """<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
net (float[batch,4] x, bool choice) => (float[batch,4] y) {
  [first] a = my.domain.Quick <alpha: float = 0.5> (x)
  [second] b = my.domain.Quick (a)
  [branch] y = If (choice) <
    then_branch = inner () => (float[batch,4] share) { [third] share = my.domain.Quick (b) },
    else_branch = other () => (float[batch,4] y_else) { y_else = Neg (x) }
  >
}"""
X = {"x": floats(3, 4), "choice": np.array(True)}


def with_function(text: str, function: str) -> Any:
    """A model that brings the function along, which ONNX Runtime computes."""
    model = parser.parse_model(text)
    model.functions.append(parser.parse_function(function))
    return model


def test_a_function_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "quick.txt").write_text(QUICK)
    model = parser.parse_model(USES)
    done = composed(model, {"my.domain::Quick": tmp_path / "quick.txt"})
    assert done.counts == {("my.domain::Quick", "quick.txt"): 3}
    assert "CastLike" not in {node.op_type for _, node in editing.walk(model.graph)}
    for choice in (True, False):
        feeds = {**X, "choice": np.array(choice)}
        (wanted,) = run(with_function(USES, QUICK), feeds)
        np.testing.assert_allclose(run(model, feeds)[0], wanted, rtol=1e-6)


def test_binary_files_and_models(tmp_path: Path) -> None:
    function = parser.parse_function(QUICK)
    (tmp_path / "function.onnx").write_bytes(function.SerializeToString())
    graph = """<ir_version: 8, opset_import: ["" : 13]>
    quick (float[n,4] x) => (float[n,4] y) <float slope = {1.702}> {
      p = Mul (slope, x)
      s = Sigmoid (p)
      y = Mul (x, s)
    }"""
    onnx.save(parser.parse_model(graph), tmp_path / "graph.onnx")
    holder = parser.parse_model('<ir_version: 8, opset_import: ["" : 15]> empty () => () { }')
    holder.functions.append(function)
    onnx.save(holder, tmp_path / "holder.onnx")
    text = USES.replace("<alpha: float = 0.5>", "")
    (wanted,) = run(with_function(text, QUICK), X)
    for name in ("function", "graph", "holder"):
        model = parser.parse_model(text)
        composed(model, {"my.domain::Quick": tmp_path / f"{name}.onnx"})
        np.testing.assert_allclose(run(model, X)[0], wanted, rtol=1e-6, err_msg=name)


def test_the_users_function_before_the_models_own(tmp_path: Path) -> None:
    """And defaults of the model's own functions count too where there is no other."""
    (tmp_path / "quick.txt").write_text(QUICK)
    other = QUICK.replace("Sigmoid", "Tanh")
    (mine,), (own,) = run(with_function(USES, QUICK), X), run(with_function(USES, other), X)
    model = with_function(USES, other)
    composed(model, {"my.domain::Quick": tmp_path / "quick.txt"})
    np.testing.assert_allclose(run(model, X)[0], mine, rtol=1e-6)
    model = with_function(USES, other)
    composed(model, {})
    np.testing.assert_allclose(run(model, X)[0], own, rtol=1e-6)


OLD = """<domain: "my.domain", opset_import: ["" : 11]>
Total <axis: ints> (x, scale) => (y, z) {
  y = ReduceSum <axes: ints = @axis, keepdims = 1> (x)
  z = Clip (x, scale)
}"""
TOTALS = """<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
net (float[batch,4] x) => (float[batch,1] y, float[batch,4] z) {
  [first] y, z = my.domain.Total <axis = [1]> (x)
}"""


def test_older_opsets_optional_inputs_and_two_operators(tmp_path: Path) -> None:
    """ReduceSum has its axes as an input from opset 13 on; Clip without a bound; an operator inside of another."""
    (tmp_path / "total.txt").write_text(OLD)
    model = parser.parse_model(TOTALS)
    composed(model, {"my.domain::Total": tmp_path / "total.txt"})
    y, z = run(model, {"x": X["x"]})
    np.testing.assert_allclose(y, X["x"].sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(z, X["x"])
    outer = QUICK.replace("y = Mul (x, share)", "g = com.microsoft.Gelu (share)\n  y = my.domain.Inner (g)")
    outer = outer.replace('["" : 15]', '["" : 15, "my.domain" : 1, "com.microsoft" : 1]')
    inner = '<domain: "my.domain", opset_import: ["" : 15]> Inner (x) => (y) { y = Neg (x) }'
    files = {"my.domain::Quick": tmp_path / "outer.txt", "my.domain::Inner": tmp_path / "inner.txt"}
    for file, text in zip(files.values(), (outer, inner), strict=True):
        file.write_text(text)
    model = parser.parse_model(USES)
    assert set(composed(model, files).counts.values()) == {3}
    assert {node.domain for _, node in editing.walk(model.graph)} == {""}


WRONG = [
    ({"my.domain::Quik": QUICK}, "no node of my.domain::Quik; it has my.domain::Quick", "my.domain::Quick"),
    ({"your.domain::Quick": QUICK}, "no node of your.domain::Quick", ""),
    ({"Quick": QUICK}, "is no DOMAIN::NAME", "my.domain::Quick"),
    ({"my.domain::Quick": QUICK.replace(": float = 1.702", "")}, "node 'second'", "give it a default"),
    ({"my.domain::Quick": QUICK.replace("alpha", "beta")}, "has no attribute 'alpha'; it has beta", "declare it"),
    ({"my.domain::Quick": QUICK.replace("(x) =>", "(x, b) =>").replace("(x, share)", "(b, share)")}, "input 'b'", ""),
    ({"my.domain::Quick": QUICK.replace("(x) =>", "() =>")}, "1 inputs, and the function has 0", ""),
    ({"my.domain::Quick": QUICK.replace("Sigmoid", "Sigmoidd")}, "Sigmoidd in the function is not an ONNX", ""),
    ({"my.domain::Quick": QUICK.replace("15]", "13]")}, "CastLike in the function exists in ONNX from opset 15", ""),
    ({"my.domain::Quick": QUICK.replace("Sigmoid (product)", "Concat <axis = 3> (x, x)")}, "node 'first'", "types"),
    ({"my.domain::Quick": QUICK.replace("Sigmoid (product)", "Cast <to = 7> (product)")}, "node 'first'", "types"),
    ({"my.domain::Quick": QUICK.replace("float = @alpha", "float = @")}, "no ONNX function", "docs/custom_layers.md"),
    (
        {"my.domain::Quick": QUICK.replace("Sigmoid", "my.domain.Quick").replace("15]", '15, "my.domain" : 1]')},
        "my.domain::Quick uses my.domain::Quick: that never ends",
        "with other operators",
    ),
]


@pytest.mark.parametrize(("operators", "says", "hint"), WRONG, ids=[says for _, says, _ in WRONG])
def test_what_does_not_fit_is_named(operators: Mapping[str, str], says: str, hint: str, tmp_path: Path) -> None:
    files: dict[str, Path | None] = {}
    for name, text in operators.items():
        files[name] = tmp_path / "file.txt"
        (tmp_path / "file.txt").write_text(text)
    with pytest.raises(TrtconvError) as raised:
        composed(parser.parse_model(USES), files)
    assert says in raised.value.message
    assert hint in raised.value.hint


def test_a_model_of_another_type_is_named(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> quick (float16[n,4] x) => (float16[n,4] y) { y = Neg (x) }'
    onnx.save(parser.parse_model(text), tmp_path / "half.onnx")
    with pytest.raises(ConversionError, match="input 'x' is float, and the file takes float16"):
        composed(
            parser.parse_model(USES.replace("<alpha: float = 0.5>", "")), {"my.domain::Quick": tmp_path / "half.onnx"}
        )


def test_a_plugin_in_onnxs_own_domain_is_kept() -> None:
    """TensorFlow's way of naming TensorRT's plugins; neither ONNX's checker nor its inference takes it there."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1,8,4] boxes, float[1,8,3] scores) => (int32[1,1] count) {
      [nms] count = EfficientNMS_TRT <max_output_boxes: int = 4> (boxes, scores)
    }"""
    model = parser.parse_model(text)
    with pytest.raises(ConversionError, match="EfficientNMS_TRT is not an ONNX operator") as raised:
        check.require_onnx(model, plugins=True)
    assert "docs/custom_layers.md" in raised.value.hint
    composed(model, {"ai.onnx::EfficientNMS_TRT": None})
    check.require_onnx(model, plugins=True)
    assert [(node.domain, node.op_type) for node in model.graph.node] == [("TRT", "EfficientNMS_TRT")]


def test_names_that_tensorrt_would_mistake() -> None:
    """Its parser looks at the name alone."""
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
        net (float[2,4] x) => (float[2,4] y) { [wrong] a = my.domain.Relu (x) [right] y = my.domain.Reluu (a) }"""
    )
    assert check.mistaken(model) == {"wrong": "TensorRT would take my.domain::Relu for ONNX's own Relu"}

"""Makers of the cases' ONNX models and samples. Each writes into a folder; its docstring says what is special."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.networks import model, node, value

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _save(
    folder: Path, name: str, nodes: list[Any], ends: tuple[Any, Any], constants: dict[str, Any], **more: Any
) -> Any:
    scalars = {key: np.asarray(held) for key, held in constants.items() if not np.ndim(held)}
    made = model(
        nodes, *ends, {key: held for key, held in constants.items() if key not in scalars}, check=False, **more
    )
    made.graph.initializer.extend(onnx.numpy_helper.from_array(held, key) for key, held in scalars.items())
    onnx.checker.check_model(made)
    onnx.save(made, folder / f"{name}.onnx")
    return made


def _random(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def hfmask(folder: Path) -> None:
    """A causal and padding mask of the lowest float, times 0 and 1, by Where; cached keys, perhaps none yet."""
    lowest, heads, pairs, depth, width = np.float32(np.finfo(np.float32).min), 4, 2, 8, 32
    nodes = [
        node("Shape", "x", "x_shape"),
        node("Gather", "x_shape i1", "length"),
        node("Gather", "x_shape i0", "count"),
        node("Shape", "mask", "mask_shape"),
        node("Gather", "mask_shape i1", "total"),
        node("Sub", "total length", "first"),
        node("Range", "first total i1", "rows"),
        node("Range", "i0 total i1", "columns"),
        *(node("Unsqueeze", f"{name} a0", f"{name}_1") for name in ("length", "total", "count")),
        node("Concat", "length_1 total_1", "square", axis=0),
        helper.make_node(
            "ConstantOfShape", ["square"], ["low"], "low", value=helper.make_tensor("v", FLOAT, [1], [float(lowest)])
        ),
        node("Unsqueeze", "rows a1", "rows_2"),
        node("Greater", "columns rows_2", "later"),
        node("Cast", "later", "later_f", to=FLOAT),
        node("Mul", "low later_f", "causal"),
        node("Unsqueeze", "causal a01", "causal_4"),
        node("Concat", "count_1 one length_1 total_1", "wide", axis=0),
        node("Expand", "causal_4 wide", "causal_b"),
        node("Cast", "mask", "mask_f", to=FLOAT),
        node("Unsqueeze", "mask_f a12", "mask_4"),
        node("Add", "causal_b mask_4", "both"),
        node("Equal", "both zero", "padded"),
        node("Where", "padded lowest causal_b", "bias"),
    ]
    constants: dict[str, Any] = {
        "lowest": lowest,
        "zero": np.float32(0),
        "i0": 0,
        "i1": 1,
        "one": np.array([1]),
        "a0": np.array([0]),
        "a1": np.array([1]),
        "a2": np.array([2]),
        "a01": np.array([0, 1]),
        "a12": np.array([1, 2]),
        "root": np.float32(depth**0.5),
        "joined": np.array([0, 0, heads * depth]),
        "groups": np.array([1, 1, heads // pairs, 1, 1]),
        "all_heads": np.array([0, heads, -1, depth]),
    }
    for seed, (name, count) in enumerate({"q": heads, "k": pairs, "v": pairs}.items()):
        constants[f"w{name}"] = _random(width, count * depth, seed=seed, scale=0.2)
        constants[f"split_{name}"] = np.array([0, 0, count, depth])
        nodes += [
            node("MatMul", f"x w{name}", f"{name}_flat"),
            node("Reshape", f"{name}_flat split_{name}", f"{name}_split"),
            node("Transpose", f"{name}_split", name, perm=[0, 2, 1, 3]),
        ]
    constants["wo"] = _random(heads * depth, width, seed=7, scale=0.2)
    for name in "kv":
        nodes += [
            node("Concat", f"past_{name} {name}", f"present_{name}", axis=2),
            node("Unsqueeze", f"present_{name} a2", f"{name}5"),
            node("Expand", f"{name}5 groups", f"{name}_groups"),
            node("Reshape", f"{name}_groups all_heads", f"{name}_all"),
        ]
    nodes += [
        node("Transpose", "k_all", "k_turned", perm=[0, 1, 3, 2]),
        node("MatMul", "q k_turned", "scores"),
        node("Div", "scores root", "scaled"),
        node("Add", "scaled bias", "masked"),
        node("Softmax", "masked", "share", axis=-1),
        node("MatMul", "share v_all", "mixed"),
        node("Transpose", "mixed", "mixed_t", perm=[0, 2, 1, 3]),
        node("Reshape", "mixed_t joined", "flat"),
        node("MatMul", "flat wo", "y"),
    ]
    past = ["batch", pairs, "past", depth]
    inputs = [value("x", ["batch", "seq", width]), value("mask", ["batch", "total"], INT64)]
    inputs += [value("past_k", past), value("past_v", past)]
    held = ["batch", pairs, "total", depth]
    outputs = [value("y", ["batch", "seq", width]), value("present_k", held), value("present_v", held)]
    _save(folder, "hfmask", nodes, (inputs, outputs), constants)
    for name, length, before in (("prefill", 6, 0), ("step", 1, 5)):
        mask = np.ones((2, length + before), np.int64)
        mask[0, :2] = 0
        cache = {f"past_{k}": _random(2, pairs, before, depth, seed=len(k) + before) for k in ("k", "v")}
        np.savez(folder / f"{name}.npz", x=_random(2, length, width, seed=9), mask=mask, **cache)


def l2norm(folder: Path) -> None:
    """x / max(|x|, 1e-12) through Expand, with a row of zeros."""
    nodes = [
        node("MatMul", "x w", "e"),
        node("ReduceL2", "e", "length", axes=[1], keepdims=1),
        node("Clip", "length floor", "clipped"),
        node("Shape", "e", "shape"),
        node("Expand", "clipped shape", "wide"),
        node("Div", "e wide", "y"),
    ]
    ends = [value("x", ["batch", 32])], [value("y", ["batch", 32])]
    _save(folder, "l2norm", nodes, ends, {"w": _random(32, 32, scale=0.17), "floor": np.float32(1e-12)})
    x = _random(16, 32, seed=1)
    x[3] = 0
    np.savez(folder / "l2norm.npz", x=x)


def rope(folder: Path) -> None:
    """Rotary positions: integers times frequencies, then Cos and Sin; positions to 3963."""
    nodes = [
        node("MatMul", "x w", "q"),
        node("Cast", "pos", "where", to=FLOAT),
        node("Unsqueeze", "where a2", "where_3"),
        node("Mul", "where_3 frequencies", "angle"),
        node("Concat", "angle angle", "angles", axis=-1),
        node("Cos", "angles", "cos"),
        node("Sin", "angles", "sin"),
        node("Split", "q halves", "left right", axis=2),
        node("Neg", "right", "minus"),
        node("Concat", "minus left", "turned", axis=-1),
        node("Mul", "q cos", "straight"),
        node("Mul", "turned sin", "across"),
        node("Add", "straight across", "y"),
    ]
    constants = {
        "w": _random(32, 32, scale=0.17),
        "frequencies": (10000.0 ** -(np.arange(16) / 16)).astype(np.float32),
        "a2": np.array([2]),
        "halves": np.array([16, 16]),
    }
    inputs = [value("x", ["batch", "seq", 32]), value("pos", ["batch", "seq"], INT64)]
    _save(folder, "rope", nodes, (inputs, [value("y", ["batch", "seq", 32])]), constants)
    for name, first in (("rope_1k", 900), ("rope_4k", 3900)):
        np.savez(
            folder / f"{name}.npz", x=_random(2, 64, 32, seed=first), pos=np.tile(np.arange(first, first + 64), (2, 1))
        )


def tstep(folder: Path) -> None:
    """The time of a diffusion step, to 981, times frequencies, then Sin and Cos."""
    nodes = [
        node("Unsqueeze", "t a1", "column"),
        node("Mul", "column frequencies", "angle"),
        node("Sin", "angle", "sin"),
        node("Cos", "angle", "cos"),
        node("Concat", "cos sin", "both", axis=-1),
        node("MatMul", "both w", "y"),
    ]
    constants = {
        "frequencies": np.exp(-np.log(1e4) * np.arange(16) / 16).astype(np.float32),
        "a1": np.array([1]),
        "w": _random(32, 32, scale=0.17),
    }
    _save(folder, "tstep", nodes, ([value("t", ["batch"])], [value("y", ["batch", 32])]), constants)
    np.savez(folder / "tstep.npz", t=np.array([981, 961, 941, 761, 501, 21, 1], np.float32))


def rms_eps(folder: Path) -> None:
    """Root mean square in single operators with an epsilon of 1e-3, on rows up to 2000 times larger than others."""
    ends = [value("x", ["batch", 64])], [value("y", ["batch", 64])]
    constants = {"w": _random(64, 64, scale=0.125), "epsilon": np.float32(1e-3), "two": np.float32(2)}
    for name, square in (("mul", node("Mul", "a a", "squares")), ("pow", node("Pow", "a two", "squares"))):
        nodes = [
            node("MatMul", "x w", "a"),
            square,
            node("ReduceMean", "squares", "mean", axes=[1]),
            node("Add", "mean epsilon", "floored"),
            node("Sqrt", "floored", "root"),
            node("Div", "a root", "y"),
        ]
        _save(folder, f"rms_{name}", nodes, ends, constants)
    sizes = np.array([1, 300, 1000, 0.01, 0, 1, 2000, 5], np.float32)[:, None]
    np.savez(folder / "rms.npz", x=_random(8, 64, seed=2) * sizes)


def ort_fp16(folder: Path) -> None:
    """x + 60000 - 60000 between two products with the unit matrix."""
    nodes = [
        node("MatMul", "x unit", "a"),
        node("Add", "a big", "b"),
        node("Sub", "b big", "c"),
        node("MatMul", "c unit", "y"),
    ]
    constants = {"unit": np.eye(32, dtype=np.float32), "big": np.float32(60000)}
    _save(folder, "ort_fp16", nodes, ([value("x", [4, 32])], [value("y", [4, 32])]), constants)
    np.savez(folder / "ort_fp16.npz", x=np.abs(_random(4, 32)) + 0.1)


def concat_share(folder: Path) -> None:
    """A large and a small head, each with a convolution of its own, joined for an output alone."""
    nodes, constants = [], {}

    def conv(x: str, name: str, ins: int, gain: float = 1.0) -> str:
        constants[f"{name}_w"] = _random(32, ins, 3, 3, seed=len(constants), scale=gain / np.sqrt(9 * ins))
        nodes.extend([node("Conv", f"{x} {name}_w", f"{name}_c", pads=[1] * 4), node("Relu", f"{name}_c", name)])
        return name

    stem = conv("x", "stem", 3)
    large, small = conv(stem, "large", 32, 100.0), conv(stem, "small", 32, 0.05)
    conv(large, "boxes", 32)
    conv(small, "scores", 32)
    nodes.append(node("Concat", "large small", "features", axis=1))
    outputs = [
        value(name, ["batch", count, 16, 16]) for name, count in (("boxes", 32), ("scores", 32), ("features", 64))
    ]
    _save(folder, "concat_share", nodes, ([value("x", ["batch", 3, 16, 16])], outputs), constants)
    np.savez(folder / "concat_share.npz", x=_random(20, 3, 16, 16, seed=5))


def logmel_calib(folder: Path) -> None:
    """The logarithm of silence before a Max, and 0 / 0 before a Where; sample 5 is silence."""
    ends = [value("x", ["batch", 32])], [value("y", ["batch", 32])]
    weights = {"w": _random(32, 32, scale=0.17), "u": _random(32, 32, seed=1, scale=0.17)}
    log = [
        node("MatMul", "x w", "a"),
        node("Mul", "a a", "p"),
        node("Log", "p", "l"),
        node("Max", "l floor", "m"),
        node("MatMul", "m u", "y"),
    ]
    _save(folder, "logmax", log, ends, {**weights, "floor": np.float32(-10)})
    divide = [
        node("MatMul", "x w", "a"),
        node("ReduceSum", "a axis", "s", keepdims=1),
        node("Div", "a s", "d"),
        node("Equal", "s zero", "none"),
        node("Where", "none zero d", "safe"),
        node("MatMul", "safe u", "y"),
    ]
    _save(folder, "divnonan", divide, ends, {**weights, "axis": np.array([1]), "zero": np.float32(0)})
    x = _random(16, 32, seed=3)
    x[5] = 0
    np.savez(folder / "lm.npz", x=x)


def rnn_state(folder: Path) -> None:
    """A recurrent state [2, batch, 32] beside x [batch, 32]."""
    nodes = [
        node("MatMul", "x w", "f"),
        node("Gather", "state i0", "s0"),
        node("Gather", "state i1", "s1"),
        node("Add", "f s0", "g"),
        node("Tanh", "g", "h0"),
        node("MatMul", "h0 u", "v"),
        node("Add", "v s1", "z"),
        node("Tanh", "z", "h1"),
        node("Unsqueeze", "h0 a0", "n0"),
        node("Unsqueeze", "h1 a0", "n1"),
        node("Concat", "n0 n1", "stateN", axis=0),
        node("MatMul", "h1 w", "y"),
    ]
    constants = {"w": _random(32, 32, scale=0.17), "u": _random(32, 32, seed=1, scale=0.17)}
    constants |= {"i0": 0, "i1": 1, "a0": np.array([0])}
    for name, batch in (("rnn_fixed", 1), ("rnn_batch", "batch")):
        inputs = [value("x", [batch, 32]), value("state", [2, batch, 32])]
        _save(folder, name, nodes, (inputs, [value("y", [batch, 32]), value("stateN", [2, batch, 32])]), constants)
    x, state = _random(4, 32, seed=2), _random(2, 4, 32, seed=3)
    np.savez(folder / "rnn_one.npz", x=x[:1], state=state[:, :1])
    np.savez(folder / "rnn_batch.npz", x=x, state=state)
    np.savez(folder / "rnn_samples.npz", x=x[:, None], state=np.moveaxis(state, 1, 0)[:, :, None])


def shapes_fix_dims(folder: Path) -> None:
    """A grouped transposed convolution whose channels are dynamic."""
    nodes = [node("ConvTranspose", "x w", "c", group=4), node("Relu", "c", "y")]
    ends = [value("x", ["batch", "channels", "time"])], [value("y", ["batch", 8, "longer"])]
    _save(folder, "shapes_fix_dims", nodes, ends, {"w": _random(16, 2, 3, scale=0.14)})


def attention23(folder: Path) -> None:
    """Attention of opset 23 in three and four dimensions, and of one tensor with itself."""
    heads = {"q_num_heads": 4, "kv_num_heads": 4}
    for name, inputs, shape, options in (
        ("att3d", "q k v", [2, 8, 128], heads),
        ("att4d", "q k v", [2, 4, 8, 32], {}),
        ("attqqq", "q q q", [2, 8, 128], heads),
    ):
        ends = [value(one, shape) for one in dict.fromkeys(inputs.split())], [value("y", shape)]
        _save(folder, name, [node("Attention", inputs, "y", **options)], ends, {}, opset=23)


def bf16_ops(folder: Path) -> None:
    """Mish, LpPool and GRU behind a product: TensorRT builds none of them in bfloat16."""
    gru = {"gw": _random(1, 48, 32, scale=0.17), "gr": _random(1, 48, 16, scale=0.25), "gb": _random(1, 96, scale=0.1)}
    for name, nodes, constants, opset in (
        ("mish", [node("Mish", "c", "y")], {}, 18),
        (
            "lppool",
            [node("Unsqueeze", "c a0", "u"), node("LpPool", "u", "y", kernel_shape=[2, 2], p=2)],
            {"a0": np.array([0])},
            17,
        ),
        ("gru", [node("GRU", "c gw gr gb", "y", hidden_size=16, linear_before_reset=1)], gru, 17),
    ):
        ends = [value("x", [4, 2, 32])], [onnx.ValueInfoProto(name="y")]
        made = model(
            [node("MatMul", "x unit", "c"), *nodes],
            *ends,
            {"unit": np.eye(32, dtype=np.float32), **constants},
            opset=opset,
            check=False,
        )
        onnx.save(onnx.shape_inference.infer_shapes(made), folder / f"{name}.onnx")


def bool_scalar(folder: Path) -> None:
    """A bool of no dimensions that chooses between two tensors."""
    nodes = [node("MatMul", "x unit", "a"), node("Relu", "a", "b"), node("Where", "flag a b", "y")]
    ends = [value("x", ["batch", 32]), value("flag", [], BOOL)], [value("y", ["batch", 32])]
    _save(folder, "bool_scalar", nodes, ends, {"unit": np.eye(32, dtype=np.float32)})


def matmulnbits(folder: Path) -> None:
    """Two operators of ONNX Runtime's own, as 4-bit language models have them."""
    own, four_bits = "com.microsoft", {"K": 64, "N": 64, "bits": 4, "block_size": 32}
    nodes = [
        helper.make_node("MatMulNBits", ["x", "packed", "scale"], ["a"], "q4", domain=own, **four_bits),
        helper.make_node("SkipSimplifiedLayerNormalization", ["a", "x", "gain"], ["y"], "norm", domain=own),
    ]
    held = {
        "packed": np.random.default_rng(0).integers(0, 256, (64, 2, 16)).astype(np.uint8),
        "scale": np.full(128, 0.01, np.float32),
        "gain": np.ones(64, np.float32),
    }
    made = model(nodes, [value("x", ["batch", 8, 64])], [value("y", ["batch", 8, 64])], held, check=False)
    made.opset_import.append(helper.make_opsetid(own, 1))
    onnx.save(made, folder / "nbits.onnx")


def damaged_npz(folder: Path) -> None:
    """A compressed archive whose directory is whole and whose data is not."""
    ends = [value("x", ["batch", 64])], [value("y", ["batch", 8])]
    _save(folder, "linear", [node("MatMul", "x w", "y")], ends, {"w": _random(64, 8)})
    whole = folder / "whole.npz"
    np.savez_compressed(whole, x=np.random.default_rng(0).integers(0, 17, (200, 64)).astype(np.float32))
    content = bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as archive:
        entry = archive.infolist()[0]
    extra = int.from_bytes(content[entry.header_offset + 28 : entry.header_offset + 30], "little")
    start = entry.header_offset + 30 + len(entry.filename) + extra
    content[start : start + 8] = b"\xff" * 8
    (folder / "damaged.npz").write_bytes(content)


def not_utf8_name(folder: Path) -> None:
    """Names of a tensor, an input, a node and a dimension with two bytes that are not UTF-8."""
    nodes = [
        helper.make_node("MatMul", ["enters", "weights"], ["middle"], "linear"),
        helper.make_node("Relu", ["middle"], ["leaves"], "rectify"),
    ]
    made = model(
        nodes, [value("enters", ["samples", 64])], [value("leaves", ["samples", 8])], {"weights": _random(64, 8)}
    )
    content = made.SerializeToString()
    for kind, name in (("tensor", b"middle"), ("input", b"enters"), ("node", b"rectify"), ("dim", b"samples")):
        (folder / f"not_utf8_{kind}.onnx").write_bytes(content.replace(name, name[:2] + b"\xff\xff" + name[4:]))

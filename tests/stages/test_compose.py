"""Custom layers by composition, through the front door: jobs and options whose models have operators of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper, parser

from tests.conftest import Cli

QUICK = """<domain: "my.domain", opset_import: ["" : 15]>
Quick <alpha: float = 1.702> (x) => (y) {
  a = Constant <value_float: float = @alpha> ()
  slope = CastLike (a, x)
  y0 = Mul (slope, x)
  y1 = Sigmoid (y0)
  y = Mul (x, y1)
}"""
NET = """<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
net (float[batch,64] x) => (float[batch,16] y) {
  [first] a = my.domain.Quick <alpha: float = 1.5> (x)
  [product] b = MatMul (a, w)
  [second] y = my.domain.Quick (b)
}"""
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 0.3).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = parser.parse_model(NET)
    model.graph.initializer.append(numpy_helper.from_array(floats(64, 16), "w"))
    onnx.save(model, tmp_path / "net.onnx")
    (tmp_path / "quick.txt").write_text(QUICK)
    np.savez(tmp_path / "samples.npz", x=floats(32, 64))
    return tmp_path


def quick(x: np.ndarray, alpha: float) -> np.ndarray:
    return x / (1 + np.exp(-alpha * x))


def test_a_job_in_int8(folder: Path, trtconv: Cli) -> None:
    """Lowered like any other operators, held to strict arithmetic, kept in the lock; the function is an input."""
    job = {
        "version": 1,
        "source": {"path": "net.onnx"},
        "operators": {"my.domain::Quick": "quick.txt"},
        "precision": "int8",
        "calibrate": {"data": {"path": "samples.npz"}},
        "verify": {"data": {"path": "samples.npz"}, "shapes": False, "tolerance": {"int8": 5e-2}},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    done = trtconv("verify", "job.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "my.domain::Quick: 2 nodes written with ONNX's operators by quick.txt" in done.stderr
    assert "not compared with the source: nothing here runs my.domain::Quick" in done.stderr
    report = json.loads(done.stdout)
    steps = {step["name"]: step for step in report["steps"]}
    assert steps["convert"]["result"]["composed"]
    made = onnx.load(folder / "build/job/job.int8.onnx")
    assert {node.op_type for node in made.graph.node} >= {"QuantizeLinear", "Mul", "Sigmoid", "MatMul"}
    (folder / "quick.txt").write_text(QUICK.replace("1.702", "1.6"))
    assert "up to date" not in trtconv("convert", "job.yaml").stdout


def test_on_the_command_line(folder: Path, trtconv: Cli) -> None:
    option = ("--operator", "my.domain::Quick=quick.txt")
    assert trtconv("convert", "net.onnx", "-o", "plain.onnx", *option).returncode == 0
    assert trtconv("infer", "plain.onnx", "--data", "samples.npz", "-o", "out.npz").returncode == 0
    x, w = np.load(folder / "samples.npz")["x"], onnx.load(folder / "net.onnx").graph.initializer[0]
    wanted = quick(quick(x, 1.5) @ numpy_helper.to_array(w), 1.702)
    np.testing.assert_allclose(np.load(folder / "out.npz")["y"], wanted, rtol=1e-4, atol=1e-5)
    for given, code, says in (
        ("my.domain::Quick", 2, "expected DOMAIN::NAME=FILE"),
        ("my.domain::Quick=missing.txt", 2, "no such file or folder: missing.txt"),
        ("my.domain::Slow=quick.txt", 2, "the model has no node of my.domain::Slow; it has my.domain::Quick"),
    ):
        done = trtconv("convert", "net.onnx", "-o", "other.onnx", "--operator", given)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    (folder / "quick.txt").write_text(QUICK.replace(": float = 1.702", ""))
    done = trtconv("convert", "net.onnx", "-o", "other.onnx", *option)
    assert done.returncode == 3
    assert "node 'second' (Quick) and quick.txt: the node has no attribute 'alpha'" in done.stderr


def test_sources_that_are_not_onnx(folder: Path, trtconv: Cli) -> None:
    (folder / "deploy.prototxt").write_text('input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8')
    done = trtconv("convert", "deploy.prototxt", "-o", "x.onnx", "--operator", "my.domain::Quick=quick.txt")
    assert done.returncode == 2
    assert "operators are for ONNX models" in done.stderr


@pytest.mark.rtx
def test_typed_models_are_composed_before_the_build(folder: Path, trtconv: Cli) -> None:
    """What a file that is built as it is holds of others is written in its own types, and that is not silent."""
    half = NET.replace("float[", "float16[")
    model = parser.parse_model(half)
    model.graph.initializer.append(numpy_helper.from_array(floats(64, 16).astype(np.float16), "w"))
    onnx.save(model, folder / "half.onnx")
    option = ("--operator", "my.domain::Quick=quick.txt")
    done = trtconv("build", "half.onnx", "-o", "half.engine", *option)
    assert done.returncode == 0, done.stderr
    assert "not compared with the model: it is typed already" in done.stderr
    facts = json.loads((folder / "half.engine.json").read_text())
    assert [tensor["dtype"] for tensor in facts["inputs"]] == ["float16"]
    done = trtconv("build", "half.onnx", "-o", "half.engine")
    assert done.returncode == 4
    assert "no operator and no plugin is called Quick" in done.stderr


@pytest.mark.rtx
def test_tensorrt_is_not_let_mistake_a_name(folder: Path, trtconv: Cli) -> None:
    model = parser.parse_model(NET.replace("my.domain.Quick", "my.domain.Elu"))
    model.graph.initializer.append(numpy_helper.from_array(floats(64, 16), "w"))
    onnx.save(model, folder / "elu.onnx")
    done = trtconv("build", "elu.onnx", "-o", "elu.engine")
    assert done.returncode == 4
    assert "TensorRT would take my.domain::Elu for ONNX's own Elu" in done.stderr


def microsoft() -> Any:
    """A net of one node of every operator that has a function, in two calls of grouped attention."""
    nodes: list[Any] = []
    held: dict[str, np.ndarray] = {}

    def add(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        nodes.append(helper.make_node(op, inputs, outputs, f"{op}_{len(nodes)}", domain="com.microsoft", **attributes))

    def weights(name: str, *shape: int) -> str:
        held[name] = floats(*shape)
        return name

    norm = [weights("gamma", 32), weights("beta", 32)]
    add("EmbedLayerNormalization", ["ids", "", weights("w", 50, 32), weights("p", 16, 32), "", *norm], ["e", ""])
    add("SkipLayerNormalization", ["e", "e", *norm], ["s"], epsilon=1e-5)
    for op, x, y in (("BiasGelu", "s", "a"), ("FastGelu", "a", "b"), ("Gelu", "b", "c"), ("QuickGelu", "c", "d")):
        add(op, [x, weights("bias", 32)] if op == "BiasGelu" else [x], [y])
    add("SkipSimplifiedLayerNormalization", ["d", "s", weights("gain", 32)], ["n"], epsilon=1e-3)
    for name, size in (("q", 64), ("k", 32), ("v", 32)):
        held[f"{name}_bits"] = RANDOM.integers(0, 256, (size, 1, 16)).astype(np.uint8)
        held[f"{name}_scales"] = (RANDOM.random(size) * 0.05).astype(np.float32)
        add("MatMulNBits", ["n", f"{name}_bits", f"{name}_scales"], [name], K=32, N=size, bits=4, block_size=32)
    angles = floats(16, 8)
    held |= {"cos": np.cos(angles), "sin": np.sin(angles), "zero": np.array([0]), "four": np.array(4, np.int32)}
    add("RotaryEmbedding", ["q", "zero", "cos", "sin"], ["r"], num_heads=4)
    heads = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}
    add("GroupQueryAttention", ["r", "k", "v", "", "", "ends", "four", "cos", "sin"], ["g", "ck", "cv"], **heads)
    add("MultiHeadAttention", ["g", "g", "g"], ["m"], num_heads=4)
    add("Attention", ["m", weights("aw", 64, 96), weights("ab", 96)], ["y"], num_heads=2)
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", 4])]
    inputs.append(helper.make_tensor_value_info("ends", TensorProto.INT32, ["batch"]))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 32])]
    tensors = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def job_of_microsoft(folder: Path, precision: list[str]) -> None:
    onnx.save(microsoft(), folder / "model.onnx")
    samples = {"ids": RANDOM.integers(0, 50, (16, 4)).astype(np.int32), "ends": np.full(16, 3, np.int32)}
    np.savez(folder / "model.npz", **samples)
    job = {
        "version": 1,
        "source": {"path": "model.onnx"},
        "precision": precision,
        "convert": {"check_data": "model.npz", "tolerance": 1e-5},
        "calibrate": {"data": {"path": "model.npz"}},
        "verify": {"data": {"path": "model.npz"}, "shapes": False, "tolerance": {"int8": 5e-2}},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))


@pytest.mark.rtx
def test_a_net_of_onnx_runtimes_operators_builds(folder: Path, trtconv: Cli) -> None:
    """Compared with ONNX Runtime's kernels by convert, in FP16 by strict arithmetic, and built."""
    job_of_microsoft(folder, ["fp16"])
    done = trtconv("run", "job.yaml")
    assert done.returncode == 0, done.stderr
    assert "compared with the source on 1 draws" in done.stderr
    assert done.stderr.count("written with ONNX's operators by trtconv") == 12  # kinds, MatMulNBits in one line
    assert (folder / "build/job/job.fp16.engine").stat().st_size > 0


@pytest.mark.rtx
@pytest.mark.slow
def test_the_same_in_every_precision(folder: Path, trtconv: Cli) -> None:
    job_of_microsoft(folder, ["fp32", "fp16", "bf16", "int8"])
    done = trtconv("run", "job.yaml")
    assert done.returncode == 0, done.stderr


@pytest.mark.rtx
@pytest.mark.slow
def test_a_growing_cache_builds(folder: Path, trtconv: Cli) -> None:
    """Sequences of different lengths are moved together, in an engine too."""
    node = helper.make_node(
        "GroupQueryAttention",
        ["q", "k", "v", "pk", "pv", "ends", "total"],
        ["y", "ck", "cv"],
        "attend",
        domain="com.microsoft",
        num_heads=4,
        kv_num_heads=2,
    )
    sizes = {"q": ["batch", 1, 64], "k": ["batch", 1, 32], "v": ["batch", 1, 32]}
    sizes |= {"pk": ["batch", 2, 3, 16], "pv": ["batch", 2, 3, 16]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in sizes.items()]
    inputs.append(helper.make_tensor_value_info("ends", TensorProto.INT32, ["batch"]))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1, 64])]
    outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2, 4, 16]) for n in ("ck", "cv")]
    total = numpy_helper.from_array(np.array(4, np.int32), "total")
    graph = helper.make_graph([node], "step", inputs, outputs, [total])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "step.onnx")
    for precision in ("fp32", "fp16"):
        done = trtconv("build", "step.onnx", "-o", "step.engine", "--precision", precision)
        assert done.returncode == 0, done.stderr

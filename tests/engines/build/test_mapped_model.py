"""Weights by address and plans in pieces: the same plan as from the file, whatever the weights are."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtconv.adapters import tensorrt
from trtconv.core.errors import BuildError, EnvironmentProblem, TrtconvError
from trtconv.core.events import ignore
from trtconv.engines.build import builder, isolated, mapped_model, plan_file

pytestmark = pytest.mark.rtx

SIDE = 64
KINDS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT64", "INT32", "INT8", "UINT8", "BOOL", "FLOAT8E4M3FN", "INT4")


def saved(path: Path, weights: list[onnx.TensorProto], nodes: list[onnx.NodeProto]) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, SIDE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, SIDE])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def product(path: Path, kind: str = "FLOAT", name: str = "w") -> Path:
    """y = x W with weights of a type, which a Cast or DequantizeLinear makes FP32."""
    number = TensorProto.DataType.Value(kind)
    values = np.random.default_rng(0).normal(scale=20, size=(2 * SIDE, SIDE)).astype(np.float32)[-SIDE:]
    stored = numpy_helper.from_array(
        (values > 0) if kind == "BOOL" else values.astype(helper.tensor_dtype_to_np_dtype(number)), name
    )
    weights, wide = [stored], helper.make_node("Cast", [name], ["d"], to=TensorProto.FLOAT)
    if kind in ("INT8", "FLOAT8E4M3FN"):
        weights.append(numpy_helper.from_array(np.full(SIDE, 0.1, np.float32), "s"))
        wide = helper.make_node("DequantizeLinear", [name, "s"], ["d"], axis=1)
    elif kind == "INT4":
        weights.append(numpy_helper.from_array(np.full((1, SIDE), 0.1, np.float32), "s"))
        wide = helper.make_node("DequantizeLinear", [name, "s"], ["d"], axis=0, block_size=SIDE)
    return saved(path, weights, [wide, helper.make_node("MatMul", ["x", "d"], ["y"])])


def built(model: Path, *, by_address: bool) -> bytes:
    """A plan made in this process."""
    loaded = tensorrt.choose("rtx")
    flavor = dataclasses.replace(loaded.flavor, can=dataclasses.replace(loaded.can, by_address=by_address))
    plan = model.with_suffix(f".{by_address}.plan")
    made = builder.build(dataclasses.replace(loaded, flavor=flavor), model, plan, builder.Options(), ignore)
    content = plan.read_bytes()
    assert (made.size, made.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_every_type_give_the_plan_of_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_model, "_LARGE", 1024)
    monkeypatch.setattr(plan_file, "LARGE", 0)  # in pieces, too
    model = product(tmp_path / "model.onnx", kind)
    mapped = mapped_model.of(model)
    assert mapped is not None
    assert [name for name, _, _ in mapped.weights] == ["w"]
    assert len(mapped.outline) < model.stat().st_size / 2
    try:
        whole = built(model, by_address=False)
    except BuildError:  # TensorRT-RTX 1.4 has no kernel for weights of 8 and 4 bits alone
        with pytest.raises(BuildError):
            built(model, by_address=True)
    else:
        assert built(model, by_address=True) == whole


def test_weights_that_no_name_tells_apart_stay_in_the_model(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.zeros((SIDE, SIDE), np.float32), "")
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    for names in (["w", "w"], [""]):
        tensors = [onnx.TensorProto.FromString(values.SerializeToString()) for _ in names]
        for tensor, name in zip(tensors, names, strict=True):
            tensor.name = name
        mapped = mapped_model.of(saved(tmp_path / "model.onnx", tensors, nodes))
        assert mapped is not None
        assert mapped.weights == ()


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model" * 99], ids=["empty", "zero", "text"])
def test_what_is_no_model_is_left_to_tensorrt(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert mapped_model.of(tmp_path / "model.onnx") is None


def test_a_full_disk_is_told_with_the_name_of_the_engine(tmp_path: Path) -> None:
    """The plan goes straight to its file, and an exception must not meet TensorRT's C++."""
    for large in (0, 1 << 30):
        code = (
            "import sys; from pathlib import Path; from trtconv.engines.build import plan_file, builder, isolated\n"
            f"plan_file.LARGE = {large}; from trtconv.adapters import tensorrt; from trtconv.core import writable\n"
            "with writable.told(), writable.at(Path('x.engine')):\n"
            "    builder.build(tensorrt.choose('rtx'), Path(sys.argv[1]), Path('/dev/full'), builder.Options(), print)"
        )
        model = product(tmp_path / "model.onnx")
        done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=False)
        assert "EnvironmentProblem: x.engine: No space left on device" in done.stderr, done.stderr
    with pytest.raises(EnvironmentProblem, match=r"^/dev/full: No space left"):
        isolated.build(tensorrt.choose("rtx"), model, Path("/dev/full"), builder.Options(), ignore)


def test_a_model_that_is_cut_short_meanwhile_is_no_fault_of_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtconv.core import child

    model = product(tmp_path / "model.onnx")

    def cut(*_: object, **__: object) -> None:
        model.write_bytes(b"")
        raise child.ChildCrash("a child process crashed with SIGBUS")

    monkeypatch.setattr(child, "call", cut)
    with pytest.raises(TrtconvError, match="somebody changed it while it was built"):
        isolated.build(tensorrt.choose("rtx"), model, tmp_path / "plan", builder.Options(), ignore)


@pytest.mark.parametrize("sizes", [(), (5,), (1 << 20, 3, 2 << 20, 7)], ids=str)
def test_a_plan_in_pieces_has_the_digest_of_its_bytes(sizes: tuple[int, ...], tmp_path: Path) -> None:
    pieces = [np.random.default_rng(size).bytes(size) for size in sizes]
    with plan_file.PlanFile(tmp_path / "plan") as out:
        assert [out.write(piece) for piece in pieces] == list(sizes)
    content = (tmp_path / "plan").read_bytes()
    assert content == b"".join(pieces)
    assert (out.size, out.sha256) == (sum(sizes), hashlib.sha256(content).hexdigest())

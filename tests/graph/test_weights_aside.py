"""Weights that stay in their file: whatever is done with a model gives the same as with the weights inside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtconv.core import files
from trtconv.core.events import Message, ignore
from trtconv.core.records import SourceSpec
from trtconv.graph import clean, editing, model_io, weights_aside
from trtconv.stages.convert import SAME, ConvertRequest, convert
from trtconv.stages.lower import LowerRequest, lower

SIDE = 48  # squared, more bytes than LARGE in every type


@pytest.fixture
def allowed() -> Iterator[None]:
    with weights_aside.allowed():
        yield


def written(path: Path, weights: dict[str, np.ndarray], *more: onnx.NodeProto) -> Path:
    """y = x W1 ... Wn, and what more nodes make of that."""
    nodes = [
        helper.make_node("MatMul", ["x" if not n else f"t{n - 1}", name], [f"t{n}"], name=f"product{n}")
        for n, name in enumerate(weights)
    ]
    last = more[-1].output[0] if more else nodes[-1].output[0]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", SIDE]) for name in ("x", last)]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([*nodes, *more], "g", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def drawn(seed: int = 0, scale: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=(SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "FLOAT8E4M3FN", "INT64", "INT4"])
def test_values_are_those_of_the_file(kind: str, tmp_path: Path, allowed: None) -> None:
    values = np.tile(drawn(scale=3), (4, 1)).astype(helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(kind)))
    path = written(tmp_path / "m.onnx", {"w": drawn()})
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(values, "v"))
    onnx.save(model, path)
    found = editing.initializers(model_io.load(path, aside=True).graph)["v"]
    assert weights_aside.of(found) is not None
    assert editing.array(found).dtype == values.dtype
    np.testing.assert_array_equal(editing.array(found), numpy_helper.to_array(model.graph.initializer[-1]))
    assert bytes(weights_aside.content(found)) == model.graph.initializer[-1].raw_data
    assert editing.size(found) == editing.size(model.graph.initializer[-1])


def test_who_reads_them_in_another_way_fails(tmp_path: Path, allowed: None) -> None:
    model = model_io.load(written(tmp_path / "m.onnx", {"w": drawn()}), aside=True)
    with pytest.raises(onnx.checker.ValidationError):
        numpy_helper.to_array(model.graph.initializer[0], str(tmp_path))


def test_without_leave_they_are_read(tmp_path: Path) -> None:
    model = model_io.load(written(tmp_path / "m.onnx", {"w": drawn()}), aside=True)
    assert model.graph.initializer[0].raw_data == drawn().tobytes()


def test_a_model_is_saved_as_if_they_were_inside(
    tmp_path: Path, allowed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "m.onnx", {"w": drawn(), "v": drawn(1)})
    aside, inside = model_io.load(path, aside=True), onnx.load(path)
    for model in (aside, inside):
        model.graph.initializer[0].name = model.graph.node[0].input[1] = "renamed"
    for large in (False, True):
        monkeypatch.setattr(model_io, "EXTERNAL_ABOVE", 0 if large else 10**9)
        for name, model in {"a": aside, "b": inside}.items():
            (tmp_path / name).mkdir(exist_ok=True)
            digest = model_io.save(model, tmp_path / name / "m.onnx")
            content = (tmp_path / name / "m.onnx").read_bytes()
            assert digest == ("" if large else hashlib.sha256(content).hexdigest())
        made = [(tmp_path / name / "m.onnx") for name in "ab"]
        assert made[0].read_bytes() == made[1].read_bytes()
        if large:
            assert files.data_of(made[0]).read_bytes() == files.data_of(made[1]).read_bytes()
    np.testing.assert_array_equal(editing.array(aside.graph.initializer[0]), drawn())  # saving changes nothing


def test_only_the_very_same_bytes_are_the_same(tmp_path: Path, allowed: None) -> None:
    path = written(tmp_path / "m.onnx", {"w": drawn(), "v": drawn(1)})
    model = model_io.load(path)
    model_io.save(model, path)
    model = model_io.load(path, aside=True)
    assert model_io.is_in(model, path)
    first, second = (weights_aside.of(tensor) for tensor in model.graph.initializer)
    assert first is not None
    assert second is not None
    for tensor, contents in zip(model.graph.initializer, (second, first), strict=True):  # as large, and elsewhere
        del tensor.external_data[:]
        weights_aside.put(tensor, contents)
    assert not model_io.is_in(model, path)
    model = model_io.load(path, aside=True)
    model.graph.initializer[1].CopyFrom(weights_aside.made(drawn(1), "v"))  # computed anew, and equal
    assert model_io.is_in(model, path)
    model.graph.initializer[1].CopyFrom(weights_aside.made(drawn(2), "v"))
    assert not model_io.is_in(model, path)
    model = model_io.load(path, aside=True)
    model.graph.doc_string = "more"
    assert not model_io.is_in(model, path)


def test_equal_weights_become_one_wherever_they_lie(tmp_path: Path, allowed: None) -> None:
    late = drawn(2)
    late[-1, -1] += 1  # begins alike, and is another
    path = written(tmp_path / "m.onnx", {"a": drawn(2), "b": drawn(3), "c": drawn(2), "d": late})
    model = model_io.load(path, aside=True)
    clean.prepare(model)
    clean.share_duplicates(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["a", "b", "d"]
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(late, "b"))  # inside, beside one that lies aside
    clean.share_duplicates(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["a", "b"]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_lowered_bytes_are_those_of_a_model_with_its_weights_inside(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = drawn(1)
    huge[0, :3] = 1e6, -np.inf, np.nan
    path = written(tmp_path / "m.onnx", {"w": drawn(), "huge": huge, "tiny": drawn(2, 1e-6)})
    result = lower(LowerRequest(path, tmp_path / "aside.onnx", precision), ignore)
    content = (tmp_path / "aside.onnx").read_bytes()
    assert result.digests == {tmp_path / "aside.onnx": hashlib.sha256(content).hexdigest()}
    monkeypatch.setattr(weights_aside, "is_allowed", lambda: False)
    monkeypatch.setattr(weights_aside, "made", numpy_helper.from_array)
    lower(LowerRequest(path, tmp_path / "inside.onnx", precision), ignore)
    assert (tmp_path / "inside.onnx").read_bytes() == content


@pytest.mark.parametrize("passing", [False, True])
def test_a_model_that_convert_wrote_is_left_alone(passing: bool, tmp_path: Path) -> None:
    """It is compared by what would be written; the file is a copy, and in a folder that goes away a link."""
    raw = written(tmp_path / "raw.onnx", {"w": drawn()}, helper.make_node("Identity", ["t0"], ["y"], name="same"))
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    assert convert(ConvertRequest(SourceSpec(raw), first, support=False), ignore).checked
    said: list[object] = []
    result = convert(ConvertRequest(SourceSpec(first), second, support=False, passing=passing), said.append)
    assert result.unchecked == SAME
    assert Message("the model is what it was, byte for byte") in said
    assert second.read_bytes() == first.read_bytes()
    assert second.is_symlink() == passing
    assert result.sha256 == ("" if passing else hashlib.sha256(first.read_bytes()).hexdigest())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

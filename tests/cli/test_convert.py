"""``trtconv convert`` of ONNX models: what jobs switch, folders with external data, contradictions."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from trtconv.adapters import onnxruntime
from trtconv.core.events import ignore
from trtconv.core.records import SourceSpec
from trtconv.graph import clean
from trtconv.job.schema import Convert
from trtconv.stages.convert import ConvertRequest, convert

ONE_OF_EACH = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3, 8, 8] image) => (float[N, M] scores) {
  same = Identity(image)
  conv = Conv<auto_pad = "SAME_UPPER">(same, w)
  norm = BatchNormalization(conv, s, b, m, v)
  scaled = Mul(norm, alike)
  again = Mul(scaled, twin)
  last = Transpose<perm = [0, 2, 3, 1]>(again)
  first = Transpose<perm = [0, 3, 1, 2]>(last)
  half = Add(k, k)
  more = Mul(first, half)
  nobody = Exp(more)
  shape = Shape(more)
  count = Gather(shape, zero)
  target = Concat<axis = 0>(count, rest)
  scores = Reshape(more, target)
}"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that every cleaning pass finds something in."""
    made, random = parser.parse_model(ONE_OF_EACH), np.random.default_rng(2)
    weights = {name: random.uniform(0.5, 1.5, 4).astype(np.float32) for name in "sbmv"}
    weights |= {"w": random.standard_normal((4, 3, 3, 3)).astype(np.float32), "k": np.full(1, 0.3, np.float32)}
    weights |= {name: np.full((1, 4, 8, 8), 1.5, np.float32) for name in ("alike", "twin")}
    weights |= {"zero": np.array([0]), "rest": np.array([-1])}
    made.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in weights.items())
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def outline(path: Path) -> list[str]:
    """Operators, their attributes and initializers by name."""
    graph = onnx.load(path).graph
    attributes = [item.name for node in graph.node for item in node.attribute]
    return sorted([node.op_type for node in graph.node] + attributes + [tensor.name for tensor in graph.initializer])


def test_jobs_can_name_every_pass() -> None:
    (choice,) = typing.get_args(typing.get_type_hints(Convert)["skip"])
    assert set(typing.get_args(choice)) == set(clean.PASSES)


@pytest.mark.parametrize("name", clean.PASSES)
def test_a_pass_that_is_left_out_leaves_what_it_finds(model: Path, name: str) -> None:
    image = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    wanted = onnxruntime.session(model, optimize=False).run({"image": image})["scores"]
    found = []
    for passes in ((), (name,)):
        out = model.with_name("out.onnx")
        convert(ConvertRequest(SourceSpec(model), out, passes=passes, support=False), ignore)
        got = onnxruntime.session(out, optimize=False).run({"image": image})["scores"]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        found.append(outline(out))
    assert found[0] != found[1]


def test_a_job_leaves_passes_out(model: Path, trtconv: Any, tmp_path: Path) -> None:
    job = f"version: 1\nsource: {{path: {model.name}}}\nconvert: {{skip: [unused, identities]}}\n"
    (tmp_path / "job.yaml").write_text(job)
    done = trtconv("convert", "job.yaml", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["steps"][-1]["result"]
    assert {"Exp", "Identity"} < set(outline(Path(result["model"])))
    assert result["checked"][0]["max_rel"] < 1e-5


def test_a_folder_with_external_data(model: Path, trtconv: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    onnx.save(onnx.load(model), folder / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0)
    done = trtconv("convert", "folder", "-o", "out.onnx")
    assert done.returncode == 0, done.stderr
    image = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    alone = (tmp_path / "elsewhere").with_suffix(".onnx")
    (tmp_path / "out.onnx").rename(alone)  # small models are one file again
    wanted = onnxruntime.session(model).run({"image": image})["scores"]
    np.testing.assert_allclose(onnxruntime.session(alone).run({"image": image})["scores"], wanted, rtol=1e-4, atol=1e-5)
    (folder / "net.bin").unlink()
    done = trtconv("convert", "folder", "-o", "out.onnx")
    assert done.returncode == 3
    assert "net.onnx: its external data cannot be read" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--opset", "12"], "--opset: convert.opset: input should be greater than or equal to 13, got 12"),
        (["--opset", "19"], "--opset: convert.opset: input should be less than or equal to 18, got 19"),
        (["--layout", "image"], "--layout image: expected NAME=nchw"),
        (["--layout", "image=nhwc"], "--layout: inputs.image.layout: unknown value 'nhwc'"),
        (["--signature", "serve"], "signature and tags are for SavedModels, this is onnx"),
        (["--tag", "serve"], "signature and tags are for SavedModels, this is onnx"),
        (["--constant", "s=1"], "constants are for frozen graphs, checkpoints and SavedModels, this is onnx"),
    ],
)
def test_contradictions_are_exit_2(model: Path, trtconv: Any, tmp_path: Path, options: list[str], says: str) -> None:
    done = trtconv("convert", model, "-o", "out.onnx", *options)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert not (tmp_path / "out.onnx").exists()


LOCAL_FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
g (float[N, 4] x) => (float[N, 4] y) {
  y = mine.Shrunk(x)
}
<opset_import: ["" : 17], domain: "mine">
Shrunk (a) => (b) {
  half = Constant<value_float = 0.5>()
  positive = Relu(a)
  b = Mul(positive, half)
}"""


def test_local_functions_are_inlined(trtconv, tmp_path):
    """In a process of its own: onnx loads its inliner only where someone asks for it."""
    onnx.save(parser.parse_model(LOCAL_FUNCTION), tmp_path / "model.onnx")
    done = trtconv("convert", "model.onnx", "-o", "flat.onnx")
    assert done.returncode == 0, done.stderr
    flat = onnx.load(tmp_path / "flat.onnx")
    assert not flat.functions
    assert sorted(node.op_type for node in flat.graph.node) == ["Mul", "Relu"]
    x = np.array([[-2, 0, 1, 3]], np.float32)
    (y,) = onnxruntime.session(tmp_path / "flat.onnx").run({"x": x}).values()
    np.testing.assert_array_equal(y, np.maximum(x, 0) * np.float32(0.5))

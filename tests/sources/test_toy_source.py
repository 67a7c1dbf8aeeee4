"""A format that trtconv does not know, of another distribution: one wing, one row, and the whole line runs on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli

WING = '''
from collections import Counter
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper, TensorProto

from trtconv.core.errors import SourceError
from trtconv.core.records import TensorInfo
from trtconv.graph import reshape
from trtconv.sources.format import Format
from trtconv.sources.records import Converted, Description, Tensors

MARK = b"AFFINE\\n"


def read(path):
    """Scale and shift of every column."""
    mark, *rows = path.read_text().splitlines()
    try:
        return np.array([[float(number) for number in row.split()] for row in rows], np.float32).reshape(-1, 2).T
    except ValueError as error:
        raise SourceError(f"{path}: not an affine model: {error}", hint="write two numbers per line") from None


class Model:
    def __init__(self, spec):
        self.scale, self.shift = read(spec.path)
        shape = ("batch", len(self.scale))
        self.inputs, self.outputs = (TensorInfo("x", "float", shape),), (TensorInfo("y", "float", shape),)

    def run(self, feeds):
        return {"y": feeds["x"] * self.scale + self.shift}

    def framework(self):
        return "toy 1.0"


def convert(wanted, emit):
    scale, shift = read(wanted.source.path)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", len(scale)]) for name in ("x", "y")]
    nodes = [helper.make_node("Mul", ["x", "scale"], ["scaled"], name="scale"),
             helper.make_node("Add", ["scaled", "shift"], ["y"], name="shift")]
    constants = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(shift, "shift")]
    graph = helper.make_graph(nodes, "affine", info[:1], info[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", wanted.opset)], ir_version=8)
    reshape.set_shapes(model, wanted.inputs)
    return Converted(model, lambda: Model(wanted.source))


def describe(path):
    model = Model(type("Spec", (), {"path": path}))
    return Description("affine model", Counter(Mul=1, Add=1), {}, [Tensors(model.inputs, model.outputs)])


AFFINE = Format(
    name="affine", title="an affine model", plural="affine models",
    recognises=lambda path, start: start.startswith(MARK),
    opens="toy_source:Model", describe="toy_source:describe", to_onnx="toy_source:convert",
)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the format, with its distribution on the path."""
    site = tmp_path / "site"
    facts = site / "toy_source-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "toy_source.py").write_text(WING)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-source\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[trtconv.sources]\naffine = toy_source:AFFINE\n")
    monkeypatch.setenv("PYTHONPATH", f"{site}:{Path(__file__).parents[2]}")
    (tmp_path / "model.affine").write_text("AFFINE\n2 0.5\n-1 0\n0.25 3\n")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
    return tmp_path / "model.affine"


def ran(done: object) -> str:
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    return str(done.stdout + done.stderr)  # type: ignore[attr-defined]


@pytest.mark.rtx
def test_the_whole_line_runs_on_a_foreign_format(toy: Path, trtconv: Cli) -> None:
    assert "affine model" in ran(trtconv("inspect", toy))
    assert json.loads(trtconv("inspect", toy, "--json").stdout)["inputs"][0]["shape"] == ["batch", 3]
    ran(trtconv("init", toy, "-o", "job.yaml"))
    job = toy.with_name("job.yaml")
    assert "an affine model" in job.read_text()
    job.write_text(job.read_text() + "\nverify:\n  data: {path: data.npz}\n  batch: 3\n")
    ran(trtconv("check", job))
    told = ran(trtconv("run", job, "--set", "bench.duration=50ms", "--set", "precision=[fp32]"))
    assert re.search(r"compared with .*: 1 outputs, largest relative difference", told)
    assert "up to date" in ran(trtconv("verify", job, "--set", "bench.duration=50ms", "--set", "precision=[fp32]"))


def test_a_damaged_file_is_refused_by_its_wing(toy: Path, trtconv: Cli) -> None:
    toy.write_text("AFFINE\nnothing\n")
    done = trtconv("convert", toy, "-o", "model.onnx")
    assert done.returncode == 3
    assert "not an affine model" in done.stderr


def test_a_wing_that_makes_a_model_that_does_not_fit_does_not_blame_the_user(toy: Path, trtconv: Cli) -> None:
    made = toy.parent / "site" / "toy_source.py"
    made.write_text(WING.replace('from_array(shift, "shift")', 'from_array(np.append(shift, shift), "shift")'))
    done = trtconv("convert", toy, "-o", "model.onnx")
    assert done.returncode == 3
    assert "the conversion made this, the source need not be at fault" in done.stderr
    assert "please report it" in done.stderr
    assert "without the shapes asked for" not in done.stderr
    shaped = trtconv("convert", toy, "-o", "model.onnx", "--input", "x:batch,3")
    assert "next: first without the shapes asked for (--input)" in shaped.stderr


def test_without_its_distribution_it_is_no_model(toy: Path, trtconv: Cli) -> None:
    done = trtconv("inspect", toy, env={"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == 3
    assert "not a model that trtconv knows" in done.stderr

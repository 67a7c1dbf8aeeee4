"""Models in parts: what TensorRT refuses falls to ONNX Runtime, and the parts compute what the whole model computes."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.conftest import INT8_CONVOLUTIONS, Cli
from tests.parts import (
    BATCHES,
    FLOAT,
    IMAGE,
    INT64,
    WEIGHTS,
    block,
    conv,
    gelu,
    images,
    kinds,
    made,
    node,
    pair,
    quick,
    require_equal,
    save,
    weights,
)
from tests.parts_lines import detector, dynamic
from trtconv import Engine
from trtconv.adapters import onnxruntime
from trtconv.core.errors import BuildError, SourceError, UsageError
from trtconv.core.events import Emit
from trtconv.core.records import ShapeRange
from trtconv.engines.plan import manifest
from trtconv.stages.build import BuildRequest, BuildResult, boundaries, parts

pytestmark = pytest.mark.rtx


def test_an_unknown_operator_in_the_middle(tmp_path: Path, trtconv: Cli) -> None:
    """The whole line by commands: build, infer, verify, inspect."""
    nodes = [*block("x", "a", "w1"), gelu("a", "b"), *block("b", "y")]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    kept = ("--operator", "com.microsoft::BiasGelu=keep")  # else it would be written with operators of ONNX
    refused = trtconv("build", model, "-o", "net.engine", *kept)
    assert refused.returncode == 4
    assert "--on-refusal onnxruntime" in refused.stderr
    done = trtconv("build", model, "-o", "net.parts", "--on-refusal", "onnxruntime", *kept)
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime runs node 'BiasGelu_b'" in done.stderr
    found = manifest.read(tmp_path / "net.parts")
    assert kinds(found) == ["engine", "onnx", "engine"]
    cut = ("build", model, "-o", "cut.parts", "--on-refusal", "onnxruntime", *kept, "--cut")
    done = trtconv(*cut, "y2_")
    assert done.returncode == 2
    assert "build.partition.cuts: no node" in done.stderr
    assert "did you mean 'y2'" in done.stderr
    done = trtconv(*cut, "b")
    assert done.returncode == 0, done.stderr
    assert "build.partition.cuts: 'b' is no end of an engine, and cuts nothing" in done.stderr
    assert found.facts["share"]["products"] == 1
    assert [one["by"] for one in found.facts["fell_back"]] == ["parser"]
    require_equal(model, found, BATCHES)

    np.savez(tmp_path / "x.npz", **BATCHES[1])
    ran = trtconv("infer", "net.parts", "--data", "x.npz", "-o", "y.npz")
    assert ran.returncode == 0, ran.stderr
    assert "3 parts" in ran.stdout
    wanted = onnxruntime.session(model).run(BATCHES[1])["y"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npz")["y"], wanted, atol=1e-5)
    compared = trtconv("verify", model, "net.parts", "--data", "x.npz", "--json")
    assert compared.returncode == 0, compared.stderr
    verdict = json.loads(compared.stdout)["verify"]["verdicts"][0]
    assert {corner["place"] for corner in verdict["corners"]} == {"min", "opt", "max", "odd"}
    shown = trtconv("inspect", "net.parts")
    assert ": 2, for ONNX Runtime: 1" in shown.stdout
    assert "BiasGelu" in shown.stdout


@INT8_CONVOLUTIONS
def test_quantized_pairs_stay_with_their_operators(tmp_path: Path) -> None:
    """No integer crosses a border, and the weights' half pair goes where it is read."""
    quantized = {
        "k1": np.clip(np.round(WEIGHTS["w1"] / 0.01), -127, 127).astype(np.int8),
        "k2": np.clip(np.round(WEIGHTS["w2"] / 0.01), -127, 127).astype(np.int8),
    }
    constants = {"bias": WEIGHTS["bias"], "scale": np.float32(0.02), "fine": np.float32(0.01), "zero": np.int8(0)}
    nodes = [
        node("DequantizeLinear", ["k1", "fine", "zero"], "w1"),
        node("DequantizeLinear", ["k2", "fine", "zero"], "w2"),
        *pair("x", "u"),
        conv("u", "w1", "a"),
        node("Relu", ["a"], "b"),
        *pair("b", "c"),
        conv("c", "w2", "d"),
        *pair("d", "e"),
        gelu("e", "f"),
        *pair("f", "g"),
        conv("g", "w2", "h"),
        node("Relu", ["h"], "y"),
    ]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, {**constants, **quantized})
    found = made(model)
    assert kinds(found) == ["engine", "onnx", "engine"]
    assert {tensor["dtype"] for part in found.parts for tensor in (*part["inputs"], *part["outputs"])} == {"float"}
    assert "DequantizeLinear_w2" in {*found.parts[2]["copied"], *found.parts[2]["nodes"]}
    require_equal(model, found, BATCHES)


def test_borders_have_the_shapes_of_the_profiles_corners(tmp_path: Path) -> None:
    line = dynamic(tmp_path)
    found = made(line.model, **line.options)
    profiles = {each["name"]: each["profiles"] for part in found.parts for each in part["inputs"]}
    assert profiles["x"] == [{"min": [1, 3, 8, 8], "opt": [2, 3, 16, 16], "max": [4, 3, 32, 24]}]
    assert profiles["s"] == [{"min": [1, 16, 8, 8], "opt": [2, 16, 16, 16], "max": [4, 16, 32, 24]}]


def test_a_model_that_tensorrt_takes_whole(tmp_path: Path) -> None:
    model = save(tmp_path / "net.onnx", block("x", "y", "w1"), {"y": FLOAT}, WEIGHTS)
    found = made(model)
    assert kinds(found) == ["engine"]
    assert found.facts["fell_back"] == []
    require_equal(model, found, BATCHES[:1])


def test_parts_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    """What nobody can run is exit 4, and older parts stay as they were."""
    model = save(tmp_path / "net.onnx", block("x", "y", "w1"), {"y": FLOAT}, WEIGHTS)
    found = made(model)
    before = {file.name: file.read_bytes() for file in found.folder.iterdir()}
    foreign = node("Nothing", ["a"], "b", domain="com.example")
    save(model, [*block("x", "a", "w1"), foreign, *block("b", "y")], {"y": FLOAT}, WEIGHTS)
    with pytest.raises(BuildError, match="nobody to run it"):
        made(model)
    assert {file.name: file.read_bytes() for file in found.folder.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "net.parts"}
    save(model, block("x", "y", "w1"), {"y": FLOAT}, WEIGHTS)
    again = made(model)
    assert again.facts["parts"] == found.facts["parts"]
    (found.folder / "part00.onnx").write_bytes(b"changed")
    with pytest.raises(SourceError, match=r"part00\.onnx is not the file"):
        Engine(found.folder)
    (found.folder / "part00.onnx").unlink()
    with pytest.raises(SourceError, match=r"part00\.onnx is missing"):
        Engine(found.folder)


def test_bfloat16_between_the_parts(tmp_path: Path) -> None:
    kind = TensorProto.BFLOAT16
    nodes = [
        *(node("Cast", [name], f"{name}_low", to=kind) for name in ("w1", "w2", "x")),
        conv("x_low", "w1_low", "a"),
        node("Relu", ["a"], "b"),
        conv("b", "w2_low", "c"),
        node("Cast", ["c"], "d", to=FLOAT),
        quick("d", "e"),
        node("Cast", ["e"], "f", to=kind),
        conv("f", "w2_low", "g"),
        node("Relu", ["g"], "h"),
        node("Cast", ["h"], "y", to=FLOAT),
    ]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    found = made(model)
    assert kinds(found) == ["engine", "onnx", "engine"]
    require_equal(model, found, BATCHES)


def test_what_fails_in_a_trial_build_falls_back_by_name(tmp_path: Path) -> None:
    """The target of Expand is made by the rest: the parser takes the node as long as it sees the whole model."""
    nodes = [
        *block("x", "a", "w1"),
        node("Shape", ["a"], "s"),
        node("Cast", ["s"], "f", to=FLOAT),
        quick("f", "q"),
        node("Cast", ["s"], "i", to=TensorProto.INT32),
        node("Cast", ["i"], "l", to=INT64),
        quick("a", "g"),
        node("GlobalAveragePool", ["g"], "p"),
        quick("p", "r"),
        node("Expand", ["r", "l"], "e"),
        *block("e", "y"),
    ]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT, "q": FLOAT}, WEIGHTS)
    found = made(model)
    require_equal(model, found, BATCHES)
    told = {one["node"]: one["by"] for one in found.facts["fell_back"]}
    assert told["QuickGelu_g"] == ("build" if version("tensorrt-rtx").startswith("1.4.") else "parser")
    assert found.facts["share"]["products"] == 1


@pytest.mark.parametrize("failing", ["a1 a3", "a1 a3 e1 e3", "c1 c3"])
def test_what_an_attempt_left_is_no_part_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Where a first part falls back the others move up: what was an engine's number is a rest's then."""
    nodes = [*block("x", "a", "w1"), quick("a", "b"), *block("b", "c"), quick("c", "d"), *block("d", "e")]
    model = save(tmp_path / "net.onnx", [*nodes, quick("e", "y")], {"y": FLOAT}, WEIGHTS)
    named, build_engine = {f"Conv_{name}" for name in failing.split()}, parts.build_engine

    def refusing(request: BuildRequest, emit: Emit) -> BuildResult:
        refused = sorted(named & {each.name for each in onnx.load(request.model).graph.node})
        if refused:
            raise BuildError(f"cannot build:\n  node {refused[0]!r}")
        return build_engine(request, emit)

    monkeypatch.setattr(parts, "build_engine", refusing)
    found = made(model)
    assert named <= {one["node"] for one in found.facts["fell_back"]}
    require_equal(model, found, BATCHES)


def test_values_that_decide_shapes_and_two_profiles(tmp_path: Path) -> None:
    nodes = [
        *block("x", "a", "w1"),
        node("Reshape", ["a", "s"], "r"),
        node("Relu", ["r"], "b"),
        quick("b", "g"),
        node("Reshape", ["g", "s"], "h"),
        node("Relu", ["h"], "k"),
        node("Tanh", ["k"], "y"),
    ]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS, {**IMAGE, "s": (INT64, [2])})
    spans = [{"x": ShapeRange((low, 3, 8, 8), (low, 3, 8, 8), (high, 3, 8, 8))} for low, high in ((1, 2), (4, 8))]
    values = [{"s": ShapeRange((low, 1024), (low, 1024), (high, 1024))} for low, high in ((1, 2), (4, 8))]
    found = made(model, profiles=tuple(spans), values=tuple(values))
    assert kinds(found) == ["engine", "onnx", "engine"]
    feeds = [{**images((rows, 3, 8, 8))[0], "s": np.array([rows, 1024])} for rows in (1, 4, 8)]
    require_equal(model, found, feeds)
    with Engine(found.folder, backend="onnxruntime") as engine, pytest.raises(UsageError, match="built for"):
        engine({**images((3, 3, 8, 8))[0], "s": np.array([3, 1024])})


def test_sizes_that_data_decide_within_bounds(tmp_path: Path) -> None:
    """An engine reads what was found, another one what a rest made of it; other sizes are refused by name."""
    line = detector(tmp_path)
    model = onnx.load(line.model)
    constants = {"m1": weights(3, 16), "m2": weights(16, 16)}
    model.graph.node.pop()
    model.graph.node.extend(
        [
            node("Cast", ["kept"], "rows", to=FLOAT),
            node("MatMul", ["rows", "m1"], "d"),
            node("Relu", ["d"], "e"),
            quick("e", "f"),
            node("MatMul", ["f", "m2"], "g"),
            node("Relu", ["g"], "h"),
            node("Tanh", ["h"], "y"),
        ]
    )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save(model, line.model)
    assert kinds(made(line.model)) == ["engine", "onnx"]
    bounds = {"kept": ShapeRange((1, 3), (15, 3), (30, 3))}
    found = made(line.model, bounds=bounds)
    assert kinds(found) == ["engine", "onnx", "engine", "onnx", "engine"]
    profiles = {each["name"]: each["profiles"] for part in found.parts for each in part["inputs"]}
    assert profiles["kept"] == [{"min": [1, 3], "opt": [15, 3], "max": [30, 3]}]
    assert profiles["f"] == [{"min": [1, 16], "opt": [15, 16], "max": [30, 16]}]
    require_equal(line.model, found, BATCHES[:1] + images((2, 3, 8, 8)))
    with Engine(found.folder, backend="onnxruntime") as engine, pytest.raises(UsageError, match="'kept'"):
        engine(BATCHES[2])
    with pytest.raises(UsageError, match="makes a tensor 'kepd'"):
        made(line.model, bounds={"kepd": bounds["kept"]})
    with pytest.raises(UsageError, match="the shape of 'a' follows from those of the inputs"):
        made(line.model, bounds={"a": ShapeRange((1, 16, 8, 8), (1, 16, 8, 8), (4, 16, 8, 8))})


def test_shapes_between_the_parts_without_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inference says them all where every operator is ONNX's: no model runs, however large its inputs."""
    nodes = [*block("x", "a", "w1"), node("Cast", ["a"], "i", to=TensorProto.INT16), node("Abs", ["i"], "j")]
    nodes += [node("Cast", ["j"], "f", to=FLOAT), *block("f", "y")]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    monkeypatch.setattr(boundaries, "_runner", lambda *_: pytest.fail("it ran"))
    found = made(model)
    assert kinds(found) == ["engine", "onnx", "engine"]
    spans = {each["name"]: each["profiles"][0] for part in found.parts for each in part["inputs"]}
    assert spans["f"] == {"min": [1, 16, 8, 8], "opt": [8, 16, 8, 8], "max": [32, 16, 8, 8]}
    require_equal(model, found, BATCHES)


JOB = """
version: 1
source: {path: net.onnx}
output: out
operators: {"com.microsoft::BiasGelu": keep}
precision: [fp16]
build: {fallback: onnxruntime, backend: rtx}
verify: {data: {path: x.npz}}
infer: {data: {path: x.npz}}
bench: {duration: 20ms, warmup: 1ms, batch: 2}
"""


def test_a_job_with_parts(tmp_path: Path, trtconv: Cli) -> None:
    """Up to date when nothing changed, made again when a file in the folder did."""
    nodes = [*block("x", "a", "w1"), gelu("a", "b"), *block("b", "y")]
    save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    np.savez(tmp_path / "x.npz", **BATCHES[1])
    (tmp_path / "job.yaml").write_text(JOB)
    done = trtconv("run", "job.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "will not build" not in done.stderr
    steps = {step["stage"]: step for step in json.loads(done.stdout)["steps"]}
    assert "3 parts" in steps["infer"]["result"]["runner"]
    assert steps["infer"]["result"]["fell_back"]
    assert [part["name"] for part in steps["bench"]["result"]["measurements"][0]["part_times"]] == [
        "part00",
        "part01",
        "part02",
    ]
    told = trtconv("report", "job.yaml")
    assert told.returncode == 0, told.stderr
    assert "## Parts" in told.stdout
    assert "| part01 | CPU |" in told.stdout
    folder = Path(steps["build"]["outputs"][0])
    assert folder.name.endswith(".fp16.parts")
    assert status(trtconv("run", "job.yaml", "--json"))["build"] == "up to date"
    locked = trtconv("run", "job.yaml", "--json", "--locked", "--force", "build", env={"TRTCONV_CACHE": "off"})
    assert status(locked)["build"] == "done"  # and the same bytes came out
    (folder / "part01.onnx").unlink()
    assert status(trtconv("run", "job.yaml", "--json"))["build"] == "from cache"
    assert (folder / "part01.onnx").is_file()


def status(done: Any) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return {step["stage"]: step["status"] for step in json.loads(done.stdout)["steps"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "net.onnx", "-o", "net.engine", "--on-refusal", "onnxruntime"], "-o net.parts"),
        (["build", "net.onnx", "-o", "net.parts"], "--on-refusal onnxruntime"),
        (["build", "net.onnx", "-o", "net.engine", "--min-subgraph-size", "2"], "belongs to fallback: onnxruntime"),
        (["build", "net.onnx", "-o", "given.parts", "--on-refusal", "onnxruntime"], "no model in parts"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_does_not_go_together(tmp_path: Path, trtconv: Cli, arguments: list[str], said: str) -> None:
    save(tmp_path / "net.onnx", block("x", "y", "w1"), {"y": FLOAT}, WEIGHTS)
    (tmp_path / "job.yaml").write_text(JOB)
    np.savez(tmp_path / "x.npz", **BATCHES[1])
    (tmp_path / "given.parts").mkdir()
    done = trtconv(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr

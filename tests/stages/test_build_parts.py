"""Models in parts: what TensorRT refuses falls to ONNX Runtime, and the parts compute what the whole model computes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import Cli
from trtconv import Engine
from trtconv.adapters import onnxruntime
from trtconv.core.errors import BuildError, EnvironmentProblem, SourceError, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import ShapeRange
from trtconv.engines.plan import manifest
from trtconv.engines.run import parts_runner
from trtconv.engines.run.opening import open_runner
from trtconv.engines.run.runner import EngineRunner, open_onnx
from trtconv.graph import strict
from trtconv.stages.build import BuildRequest, build

pytestmark = pytest.mark.rtx

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
RANDOM = np.random.default_rng(0)
IMAGE = {"x": (FLOAT, ["n", 3, 8, 8])}


def node(op: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), list(outputs), f"{op}_{outputs[0]}", **attributes)


def conv(x: str, weights: str, y: str) -> Any:
    return node("Conv", [x, weights], y, pads=[1] * 4)


def weights(*shape: int) -> Any:
    return (RANDOM.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


WEIGHTS = {"w1": weights(16, 3, 3, 3), "w2": weights(16, 16, 3, 3), "bias": weights(8)}
"""``bias`` fits BiasGelu where the last dimension is 8."""


def save(
    path: Path,
    nodes: Sequence[Any],
    outputs: Mapping[str, int],
    constants: Mapping[str, Any],
    inputs: Mapping[str, tuple[int, list[Any]]] = IMAGE,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def block(x: str, y: str, first: str = "w2") -> list[Any]:
    """Two convolutions: worth an engine."""
    return [
        conv(x, first, f"{y}1"),
        node("Relu", [f"{y}1"], f"{y}2"),
        conv(f"{y}2", "w2", f"{y}3"),
        node("Relu", [f"{y}3"], y),
    ]


def gelu(x: str, y: str) -> Any:
    return node("BiasGelu", [x, "bias"], y, domain="com.microsoft")


def made(model: Path, **options: Any) -> manifest.Manifest:
    target = model.with_suffix(".parts")
    build(BuildRequest(model=model, engine=target, backend="rtx", fallback="onnxruntime", **options), ignore)
    return manifest.read(target)


def kinds(found: manifest.Manifest) -> list[str]:
    return [part["kind"] for part in found.parts]


def ops(found: manifest.Manifest) -> set[str]:
    return {one["op"] for one in found.facts["fell_back"]}


def require_equal(
    model: Path, found: manifest.Manifest, feeds: Sequence[Mapping[str, Any]], *, bound: float = 1e-5
) -> None:
    """The parts' ONNX in order against the whole model: ONNX Runtime, or strictly where types ask for it."""
    loaded = onnx.load(model)
    low = strict.needed(loaded)
    session = None if low else onnxruntime.session(model)
    with Engine(found.folder, backend="onnxruntime") as engine:
        assert engine.runner.endswith(f"{len(found.parts)} parts")
        for feed in feeds:
            wanted = strict.run(loaded, feed) if session is None else session.run(feed)
            got = engine(feed)
            got = got if isinstance(got, dict) else {next(iter(wanted)): got}
            for name, array in wanted.items():
                assert got[name].dtype == array.dtype
                assert got[name].shape == array.shape
                np.testing.assert_allclose(got[name], array, atol=1e-5, rtol=1e-5)


def images(*sizes: Sequence[int]) -> list[dict[str, Any]]:
    return [{"x": RANDOM.normal(size=size).astype(np.float32)} for size in sizes]


BATCHES = images((1, 3, 8, 8), (5, 3, 8, 8), (32, 3, 8, 8))


def test_an_unknown_operator_in_the_middle(tmp_path: Path, trtconv: Cli) -> None:
    """The whole line by commands: build, infer, verify, inspect."""
    nodes = [*block("x", "a", "w1"), gelu("a", "b"), *block("b", "y")]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    refused = trtconv("build", model, "-o", "net.engine")
    assert refused.returncode == 4
    assert "--on-refusal onnxruntime" in refused.stderr
    done = trtconv("build", model, "-o", "net.parts", "--on-refusal", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime runs node 'BiasGelu_b'" in done.stderr
    found = manifest.read(tmp_path / "net.parts")
    assert kinds(found) == ["engine", "onnx", "engine"]
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


def test_a_detector_that_ends_in_suppression(tmp_path: Path) -> None:
    constants = {
        **WEIGHTS,
        "w4": weights(4, 16, 3, 3),
        "w5": weights(5, 16, 3, 3),
        "boxes": np.array([0, 4, -1], np.int64),
        "classes": np.array([0, 5, -1], np.int64),
        "most": np.array([3], np.int64),
        "iou": np.array([0.5], np.float32),
        "score": np.array([0.5], np.float32),
    }
    nodes = [
        *block("x", "a", "w1"),
        conv("a", "w4", "r"),
        node("Reshape", ["r", "boxes"], "q"),
        node("Transpose", ["q"], "b", perm=[0, 2, 1]),
        conv("a", "w5", "s"),
        node("Reshape", ["s", "classes"], "t"),
        node("Sigmoid", ["t"], "c"),
        node("NonMaxSuppression", ["b", "c", "most", "iou", "score"], "kept"),
        node("Cast", ["kept"], "y", to=FLOAT),
    ]
    model = save(tmp_path / "net.onnx", nodes, {"b": FLOAT, "c": FLOAT, "y": FLOAT}, constants)
    found = made(model)
    assert kinds(found) == ["engine", "onnx"]
    assert ops(found) == {"NonMaxSuppression", "Cast"}
    assert found.facts["share"]["products"] >= 0.99
    require_equal(model, found, BATCHES)


def body(name: str, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[str]) -> Any:
    return helper.make_graph(list(nodes), name, list(inputs), [helper.make_empty_tensor_value_info(o) for o in outputs])


def test_branches_and_loops_stay_whole(tmp_path: Path) -> None:
    """Both hold an operator that TensorRT lacks, and read tensors from around them."""
    then = body("then", [gelu("a", "p")], [], ["p"])
    other = body("other", [node("Neg", ["a"], "q")], [], ["q"])
    turn = body(
        "turn",
        [node("Identity", ["go"], "on"), gelu("state", "g"), node("Add", ["g", "b"], "next")],
        [
            helper.make_tensor_value_info("count", INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        ["on", "next"],
    )
    nodes = [
        *block("x", "a", "w1"),
        node("ReduceSum", ["a"], "total", keepdims=0),
        node("Greater", ["total", "zero"], "flag"),
        node("If", ["flag"], "b", then_branch=then, else_branch=other),
        *block("b", "c"),
        node("Loop", ["turns", "", "c"], "d", body=turn),
        *block("d", "y"),
    ]
    constants = {**WEIGHTS, "zero": np.float32(0), "turns": np.int64(2)}
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, constants)
    found = made(model)
    assert kinds(found).count("engine") == 3
    assert {"If", "Loop"} <= ops(found)
    require_equal(model, found, BATCHES)


def test_types_that_tensorrt_lacks(tmp_path: Path) -> None:
    nodes = [
        *block("x", "a", "w1"),
        node("Cast", ["a"], "i", to=TensorProto.INT16),
        node("Cast", ["i"], "f", to=FLOAT),
        node("Cast", ["f"], "d", to=TensorProto.DOUBLE),
        node("Tanh", ["d"], "e"),
        node("Cast", ["e"], "g", to=FLOAT),
        *block("g", "y"),
    ]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    found = made(model)
    assert kinds(found) == ["engine", "onnx", "engine"]
    require_equal(model, found, BATCHES)


def pair(x: str, y: str) -> list[Any]:
    return [
        node("QuantizeLinear", [x, "scale", "zero"], f"{y}_q"),
        node("DequantizeLinear", [f"{y}_q", "scale", "zero"], y),
    ]


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


def test_dynamic_batch_height_and_width(tmp_path: Path) -> None:
    """Sizes are computed where they are read, and the borders have the shapes of the profile's corners."""
    constants = {
        **WEIGHTS,
        "two": np.array([2], np.int64),
        "one": np.array([1], np.int64),
        "all": np.array([-1], np.int64),
    }
    constants |= {"zero": np.array([0], np.int64), "sixteen": np.array([16], np.int64)}
    nodes = [
        *block("x", "a", "w1"),
        quick("a", "s"),
        node("MaxPool", ["s"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["p"], "size"),
        node("Slice", ["size", "zero", "one"], "batch"),
        node("Concat", ["batch", "sixteen", "all"], "target", axis=0),
        node("Reshape", ["p", "target"], "r"),
        node("Softmax", ["r"], "m", axis=2),
        node("Shape", ["x"], "whole"),
        node("Slice", ["whole", "zero", "one"], "rows"),
        node("Concat", ["rows", "all"], "flat", axis=0),
        quick("m", "g"),
        node("Reshape", ["g", "flat"], "y"),
    ]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, constants, {"x": (FLOAT, ["n", 3, "h", "w"])})
    span = {"x": ShapeRange((1, 3, 8, 8), (2, 3, 16, 16), (4, 3, 32, 24))}
    found = made(model, profiles=(span,))
    require_equal(model, found, images((1, 3, 8, 8), (3, 3, 12, 24), (4, 3, 32, 24)))
    profiles = {each["name"]: each["profiles"] for part in found.parts for each in part["inputs"]}
    assert profiles["x"] == [{"min": [1, 3, 8, 8], "opt": [2, 3, 16, 16], "max": [4, 3, 32, 24]}]
    assert profiles["s"] == [{"min": [1, 16, 8, 8], "opt": [2, 16, 16, 16], "max": [4, 16, 32, 24]}]
    assert kinds(found).count("engine") == 2


def quick(x: str, y: str) -> Any:
    """An operator of ONNX Runtime alone that takes any shape."""
    return node("QuickGelu", [x], y, domain="com.microsoft")


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
    assert told["QuickGelu_g"] == "parser"
    assert found.facts["share"]["products"] == 1


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


JOB = """
version: 1
source: {path: net.onnx}
output: out
precision: [fp16]
build: {fallback: onnxruntime, backend: rtx}
verify: {data: {path: x.npz}}
infer: {data: {path: x.npz}}
"""


def test_a_job_with_parts(tmp_path: Path, trtconv: Cli) -> None:
    """Up to date when nothing changed, made again when a file in the folder did."""
    nodes = [*block("x", "a", "w1"), gelu("a", "b"), *block("b", "y")]
    save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    np.savez(tmp_path / "x.npz", **BATCHES[1])
    (tmp_path / "job.yaml").write_text(JOB)
    done = trtconv("run", "job.yaml", "--json")
    assert done.returncode == 0, done.stderr
    steps = {step["stage"]: step for step in json.loads(done.stdout)["steps"]}
    assert "3 parts" in steps["infer"]["result"]["runner"]
    assert steps["infer"]["result"]["fell_back"]
    folder = Path(steps["build"]["outputs"][0])
    assert folder.name.endswith(".fp16.parts")
    assert status(trtconv("run", "job.yaml", "--json"))["build"] == "up to date"
    locked = trtconv("run", "job.yaml", "--json", "--locked", "--force", "build", env={"TRTCONV_CACHE": "off"})
    assert status(locked)["build"] == "done"  # and the same bytes came out
    (folder / "part01.onnx").unlink()
    assert status(trtconv("run", "job.yaml", "--json"))["build"] == "done"
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
        (["bench", "given.parts"], "one by one"),
        (["check", "job.yaml", "--set", "bench={}"], "bench measures one engine"),
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


class Pretended(EngineRunner):
    """An engine runner whose arithmetic ONNX Runtime does: what is under test is the way of the tensors."""

    def __init__(self, engine: Path, log: list[str]) -> None:
        self.inner, self.name, self.log = open_onnx(engine.with_suffix(".onnx")), engine.name, log

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.log.append(f"run {self.name}")
        return self.inner.run(feeds)

    def current(self) -> Any:
        return contextlib.nullcontext()

    def describe(self) -> str:
        return "TensorRT-RTX 1.5 on H100"

    def memory(self) -> int:
        return 5

    def fork(self, graph: bool | None = None) -> Pretended:
        return self

    def close(self) -> None:
        self.log.append(f"close {self.name}")


def test_engines_and_rests_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU: engines for the parts that have one, the rest on the CPU, and no engine left open when one fails."""
    nodes = [*block("x", "a", "w1"), gelu("a", "b"), *block("b", "y")]
    model = save(tmp_path / "net.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    found, log = made(model), []
    broken = ""

    def opened(engine: Path, *_: Any) -> Pretended:
        if engine.name == broken:
            raise EnvironmentProblem("made for another GPU", hint="build it here")
        return Pretended(engine, log)

    monkeypatch.setattr(parts_runner, "open_engine", opened)
    runner, fell_back = open_runner(found.folder)
    assert not fell_back
    assert runner.basis == "engine"
    assert runner.describe().startswith("TensorRT-RTX 1.5 on H100: 2 of 3 parts and 1 by ONNX Runtime")
    assert "through the host" in runner.describe()
    assert runner.memory() == 10
    wanted = onnxruntime.session(model).run(BATCHES[1])["y"]
    np.testing.assert_allclose(runner.run(BATCHES[1])["y"], wanted, atol=1e-5)
    runner.close()
    assert log == [f"{what} {name}" for what in ("run", "close") for name in ("part00.engine", "part02.engine")]
    log.clear()
    broken = "part02.engine"
    runner, fell_back = open_runner(found.folder)
    assert (runner.basis, fell_back, log) == ("ONNX Runtime", "made for another GPU", ["close part00.engine"])
    with pytest.raises(EnvironmentProblem, match="another GPU"):
        open_runner(found.folder, "rtx")

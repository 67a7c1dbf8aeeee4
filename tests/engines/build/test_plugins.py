"""Plugins: on the recorded interfaces of every TensorRT, and the examples of the documentation on TensorRT-RTX."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from tests import parts
from tests.conftest import PLUGINS, Cli
from tests.engines.fake_tensorrt import Fake
from trtconv.adapters import onnxruntime
from trtconv.core.errors import BuildError, EnvironmentProblem, UsageError
from trtconv.core.events import Message, ignore
from trtconv.core.records import PluginSpec
from trtconv.engines.build import plugins
from trtconv.engines.plan import manifest, preflight
from trtconv.engines.run import engine
from trtconv.stages.build import BuildRequest, build

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs/plugins"
TAKE = ("tensorrt-10.16.1", "tensorrt-11.4.0", "tensorrt_rtx-1.7.1")
NET = """<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
net (float[batch,4] x) => (float[batch,4] y) {
  a = Relu (x)
  [scaled] y = my.domain.Scale <factor: float = 2.5> (a)
}"""


@pytest.fixture(autouse=True)
def _no_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave that one test is given ends with it."""
    monkeypatch.setenv("TRTCONV_ALLOW_CODE", "0")


def net(folder: Path, text: str = NET) -> Path:
    onnx.save(parser.parse_model(text), folder / "net.onnx")
    return folder / "net.onnx"


def library(fake: Fake, folder: Path, *creators: Any) -> Path:
    path = folder / "libscale.so"
    path.write_bytes(b"a library")
    fake.libraries[path.name] = list(creators) or [fake.creator("Scale", "1", factor="FLOAT32")]
    return path


def built(fake: Fake, model: Path, path: Path, *, emit: Any = ignore, **options: Any) -> Path:
    backend = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}[fake.module]
    spec = PluginSpec(path, **options)
    made = model.with_suffix(".engine")
    build(BuildRequest(model, made, backend=backend, plugins=(spec,), allow_code=True), emit)
    return made


@pytest.mark.parametrize("record", TAKE)
def test_a_library_is_loaded_before_the_model_and_before_the_engine(install: Any, tmp_path: Path, record: str) -> None:
    fake, _ = install(record)
    path = library(fake, tmp_path)
    made = built(fake, net(tmp_path), path)
    order = [name for name, _ in fake.calls]
    assert order.index("IPluginRegistry.load_library") < order.index("OnnxParser.parse")
    (facts,) = json.loads(made.with_name("net.engine.json").read_text())["plugins"]
    assert (facts["language"], facts["file"], facts["embedded"]) == ("compiled", "libscale.so", False)
    assert facts["creators"] == [{"name": "Scale", "version": "1", "namespace": "", "fields": {"factor": "FLOAT32"}}]
    assert facts["nodes"][0]["operator"] == "my.domain::Scale"
    assert facts["nodes"][0]["attributes"] == {"factor": 2.5}
    fake.calls.clear()
    fake.creators.clear()
    plugins._held.clear()  # as in another process
    engine.load(made).close()
    order = [name for name, _ in fake.calls]
    assert order.index("IPluginRegistry.load_library") < order.index("Runtime.deserialize_cuda_engine")


@pytest.mark.parametrize("record", TAKE)
def test_a_library_inside_of_the_engine(install: Any, tmp_path: Path, record: str) -> None:
    fake, _ = install(record)
    path = library(fake, tmp_path)
    made = built(fake, net(tmp_path), path, embed=True)
    assert ("IBuilderConfig.plugins_to_serialize", [str(path)]) in fake.calls
    path.unlink()  # not needed any more
    assert preflight.preflight(made) == ()
    fake.calls.clear()
    engine.load(made).close()
    order = [name for name, _ in fake.calls]
    assert order.index("Runtime.engine_host_code_allowed") < order.index("Runtime.deserialize_cuda_engine")
    assert "IPluginRegistry.load_library" not in order


def test_a_missing_or_changed_library_is_told_before_loading(install: Any, tmp_path: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    path = library(fake, tmp_path)
    made = built(fake, net(tmp_path), path)
    fake.calls.clear()
    path.write_bytes(b"another library")
    with pytest.raises(EnvironmentProblem, match=r"another plugin libscale\.so") as raised:
        engine.load(made)
    assert raised.value.exit_code == 5
    path.rename(tmp_path / "moved.so")
    with pytest.raises(EnvironmentProblem, match=r"needs the plugin libscale\.so, and .* is not there"):
        engine.load(made)
    assert fake.calls == []
    there = tmp_path / "elsewhere"
    there.mkdir()
    for name in ("net.engine", "net.engine.json"):
        shutil.move(tmp_path / name, there / name)
    (there / "libscale.so").write_bytes(b"a library")  # beside the engine it is found too
    assert preflight.preflight(there / "net.engine") == ()
    shutil.move(there / "libscale.so", tmp_path / "libscale.so")  # where it was when the engine was built
    assert preflight.preflight(there / "net.engine") == ()


def test_it_runs_by_leave_only(install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, _ = install("tensorrt-11.4.0")
    path = library(fake, tmp_path)
    with pytest.raises(UsageError, match=r"libscale\.so is code"):
        build(
            BuildRequest(net(tmp_path), tmp_path / "x.engine", backend="tensorrt", plugins=(PluginSpec(path),)), ignore
        )
    made = built(fake, net(tmp_path), path)
    monkeypatch.setenv("TRTCONV_ALLOW_CODE", "0")
    with pytest.raises(UsageError, match=r"libscale\.so, which net\.engine needs, is code"):
        engine.load(made)


def test_an_older_rtx_says_from_when_on(install: Any, tmp_path: Path) -> None:
    fake, _ = install("tensorrt_rtx-1.5.0")
    with pytest.raises(BuildError, match=r"takes no plugin for Scale .*; TensorRT-RTX does from 1\.7 on"):
        built(fake, net(tmp_path), library(fake, tmp_path))


@pytest.mark.parametrize(
    ("text", "creator", "says"),
    [
        (
            NET,
            ("2", {"factor": "FLOAT32"}),
            "node 'scaled' (Scale) asks for version 1 of the plugin, and there is version 2",
        ),
        (NET, ("1", {"faktor": "FLOAT32"}), "its attribute 'factor' is no field of the plugin"),
        (NET, ("1", {"factor": "INT32"}), "its attribute 'factor' is FLOAT, and the plugin's field is INT32"),
    ],
)
def test_what_does_not_fit_is_said(
    install: Any, tmp_path: Path, text: str, creator: tuple[str, dict[str, str]], says: str
) -> None:
    fake, _ = install("tensorrt-11.4.0")
    version, fields = creator
    with pytest.raises(BuildError) as raised:
        built(fake, net(tmp_path, text), library(fake, tmp_path, fake.creator("Scale", version, **fields)))
    assert says in raised.value.message
    assert "OnnxParser.parse" not in [name for name, _ in fake.calls]


@pytest.mark.parametrize(
    ("creator", "says"),
    [
        (
            ("Scale", {"factor": "FLOAT32", "bias": "FLOAT32"}),
            ["node 'scaled' (Scale) gives no bias: the plugin chooses"],
        ),
        (
            ("Skale", {}),
            [
                "node 'scaled': no plugin is called Scale; did you mean 'Skale'?",
                "libscale.so (Skale 1) is not needed; the model has my.domain::Scale",
            ],
        ),
    ],
)
def test_what_is_doubtful_is_a_warning(
    install: Any, tmp_path: Path, creator: tuple[str, dict[str, str]], says: list[str]
) -> None:
    fake, _ = install("tensorrt-11.4.0")
    said: list[str] = []
    path = library(fake, tmp_path, fake.creator(creator[0], "1", **creator[1]))
    built(fake, net(tmp_path), path, emit=lambda event: said.append(event.text) if isinstance(event, Message) else None)
    assert all(any(text in one for one in said) for text in says), said


def test_a_file_that_is_no_plugin(install: Any, tmp_path: Path) -> None:
    fake, _ = install("tensorrt-11.4.0")
    path = tmp_path / "libc.so"
    path.write_bytes(b"")
    with pytest.raises(BuildError, match=r"does not load the plugin .*it adds no plugin creator"):
        built(fake, net(tmp_path), path)


@PLUGINS
def test_the_example_in_python(tmp_path: Path, trtconv: Cli) -> None:
    """Built without a GPU; what then changed, or is gone, is exit 5 by name."""
    net(tmp_path)
    shutil.copy(EXAMPLES / "scale_plugin.py", tmp_path)
    asked = ("build", "net.onnx", "-o", "net.engine", "--plugin", "scale_plugin:creator")
    done = trtconv(*asked)
    assert done.returncode == 2
    assert "scale_plugin:creator is code, which runs only by your leave" in done.stderr
    done = trtconv(*asked, "--allow-code")
    assert done.returncode == 0, done.stderr
    assert (
        "plugin scale_plugin:creator for 1 nodes, beside it: scale_plugin.py" in trtconv("inspect", "net.engine").stdout
    )
    with (tmp_path / "scale_plugin.py").open("a") as file:
        file.write("# changed\n")
    np.savez(tmp_path / "x.npz", x=np.ones((2, 4), np.float32))
    run = ("infer", "net.engine", "--data", "x.npz", "-o", "y.npz", "--backend", "rtx", "--allow-code")
    done = trtconv(*run)
    assert done.returncode == 5
    assert "it was built with another plugin scale_plugin:creator" in done.stderr
    (tmp_path / "scale_plugin.py").unlink()
    done = trtconv(*run)
    assert done.returncode == 5
    assert "it needs the plugin scale_plugin:creator, and" in done.stderr


def scaled(x: str, y: str, factor: float) -> Any:
    return parts.node("Scale", [x], y, domain="my.domain", factor=factor)


def net_in_parts(folder: Path, first: float = 2.5, last: float = 0.5) -> Path:
    """The plugin's operator in two engines of which one has two nodes, and two nodes that TensorRT refuses."""
    nodes = [
        *parts.block("x", "a", "w1"),
        scaled("a", "b", first),
        parts.node("MaxPool", ["b"], "c", kernel_shape=[2, 2], strides=[2, 2]),
        parts.quick("c", "d"),
        *parts.block("d", "e"),
        parts.quick("e", "f"),
        parts.conv("f", "w2", "g"),
        scaled("g", "y", last),
    ]
    path = parts.save(folder / "net.onnx", nodes, {"y": parts.FLOAT}, parts.WEIGHTS)
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("my.domain", 1))
    onnx.save(model, path)
    return path


def composed(path: Path) -> Any:
    """A model in which multiplications stand for the plugin; ONNX Runtime runs it."""
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Scale":
            factor = np.float32(node.attribute[0].f)
            model.graph.initializer.append(onnx.numpy_helper.from_array(factor, f"{node.name}_factor"))
            node.op_type, node.domain = "Mul", ""
            node.input.append(f"{node.name}_factor")
            del node.attribute[:]
    return onnxruntime.session(model.SerializeToString())


PARTS_JOB = """
version: 1
source: {path: net.onnx}
output: out
precision: typed
operators: {"com.microsoft::QuickGelu": keep}
plugins: [{python: "scale_plugin:creator"}]
build: {fallback: onnxruntime, backend: rtx}
"""


@PLUGINS
def test_plugins_inside_of_parts(tmp_path: Path, trtconv: Cli) -> None:
    """Its shapes are asked of TensorRT, its nodes are never too few, and only the engines that need it name it."""
    model = net_in_parts(tmp_path)
    shutil.copy(EXAMPLES / "scale_plugin.py", tmp_path)
    (tmp_path / "job.yaml").write_text(PARTS_JOB)
    told = trtconv("check", "job.yaml", "--allow-code").stdout
    assert "would make engines: 3 with 100.0 % of the multiplications; parts for ONNX Runtime: 2" in told
    assert "by plugins, inside engines: Scale_b (Scale), Scale_y (Scale)" in told
    done = trtconv("run", "job.yaml", "--allow-code")
    assert done.returncode == 0, done.stderr
    assert "is not needed" not in done.stderr
    folder = tmp_path / "out/job.typed.parts"
    found = manifest.read(folder)
    assert parts.kinds(found) == ["engine", "onnx"] * 2 + ["engine"]
    named = {
        part["engine"]: [
            one["creator"] for one in json.loads((folder / f"{part['engine']}.json").read_text())["plugins"]
        ]
        for part in found.parts
        if part["engine"]
    }
    assert named == {
        "part00.engine": ["scale_plugin:creator"],
        "part02.engine": [],
        "part04.engine": ["scale_plugin:creator"],
    }
    profiles = {each["name"]: each["profiles"][0]["max"] for part in found.parts for each in part["inputs"]}
    assert profiles == {
        "x": [32, 3, 8, 8],
        "c": [32, 16, 4, 4],
        "d": [32, 16, 4, 4],
        "e": [32, 16, 4, 4],
        "f": [32, 16, 4, 4],
    }
    for feeds in parts.BATCHES:
        tensors = dict(feeds)
        for part in found.parts:
            inputs = {each["name"]: tensors[each["name"]] for each in part["inputs"]}
            tensors |= composed(folder / part["onnx"]).run(inputs)
        np.testing.assert_allclose(tensors["y"], composed(model).run(feeds)["y"], atol=1e-5, rtol=1e-5)
    np.savez(tmp_path / "x.npz", **parts.BATCHES[1])
    run = ("infer", folder, "--data", "x.npz", "-o", "y.npz", "--allow-code")
    done = trtconv(*run)
    assert done.returncode == 5
    assert "ONNX Runtime has none of it" in done.stderr
    (tmp_path / "scale_plugin.py").unlink()
    done = trtconv(*run)
    assert done.returncode == 5
    assert "part00.engine cannot run here: it needs the plugin scale_plugin:creator, and" in done.stderr
    net(tmp_path, NET.replace("factor:", "faktor:"))
    shutil.copy(EXAMPLES / "scale_plugin.py", tmp_path)
    asked = ("--on-refusal", "onnxruntime", "--plugin", "scale_plugin:creator", "--allow-code")
    done = trtconv("build", "net.onnx", "-o", "net.parts", *asked)
    assert done.returncode == 4
    assert "its attribute 'faktor' is no field of the plugin" in done.stderr


@pytest.mark.rtx(since="1.5", why="has CausalConvWithState")
def test_an_operator_whose_attributes_tensorrt_does_not_hand_on(tmp_path: Path, trtconv: Cli) -> None:
    """It would make the plugin without them and say nothing."""
    net(tmp_path, NET.replace("Scale", "CausalConvWithState"))
    text = (EXAMPLES / "scale_plugin.py").read_text()
    (tmp_path / "scale_plugin.py").write_text(text.replace('"Scale", "1"', '"CausalConvWithState", "1"'))
    asked = ("build", "net.onnx", "-o", "net.engine", "--plugin", "scale_plugin:creator", "--allow-code")
    done = trtconv(*asked)
    assert done.returncode == 4
    assert "hands its plugin no attribute 'factor', only activation, ndim" in done.stderr
    net(tmp_path, NET.replace("Scale <factor: float = 2.5>", "CausalConvWithState"))
    done = trtconv(*asked)
    assert done.returncode == 0, done.stderr


@PLUGINS
@pytest.mark.parametrize("method", ["clone", "set_tactic"])
def test_a_method_that_is_missing_is_named(tmp_path: Path, trtconv: Cli, method: str) -> None:
    """TensorRT would end the process, or fail when it runs."""
    net(tmp_path)
    text = (EXAMPLES / "scale_plugin.py").read_text()
    (tmp_path / "scale_plugin.py").write_text(text.replace(f"def {method}(", "def other("))
    done = trtconv("build", "net.onnx", "-o", "net.engine", "--plugin", "scale_plugin:creator", "--allow-code")
    assert done.returncode == 4
    assert f"scale_plugin:creator: Scale has no method {method}" in done.stderr


@pytest.mark.rtx
def test_the_compiled_example(tmp_path: Path, trtconv: Cli) -> None:
    python, include = (os.environ.get(name, "") for name in ("TRTCONV_TEST_NVCC", "TRTCONV_TEST_TRT_INCLUDE"))
    if not include or not (python or shutil.which("nvcc")):
        pytest.skip("TRTCONV_TEST_TRT_INCLUDE names no headers of TensorRT, or there is no nvcc (TRTCONV_TEST_NVCC)")
    script = [python or sys.executable, ROOT / "scripts/compile_plugin.py", EXAMPLES / "scale.cu", "-o", "libscale.so"]
    command = [*script, "--include", include, "--target", "86"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    net(tmp_path)
    sizes = []
    for named in ("libscale.so", "embed:libscale.so"):
        made = trtconv("build", "net.onnx", "-o", "net.engine", "--plugin", named, "--allow-code")
        assert made.returncode == 0, made.stderr
        sizes.append((tmp_path / "net.engine").stat().st_size)
    held = sizes[1] - sizes[0]
    assert held >= (tmp_path / "libscale.so").stat().st_size

"""The documentation's plugins on a GPU: engines with them, beside and inside, alone and among parts.

A TensorRT-RTX that takes plugins for some operators alone gets the examples under the name of one of these, whose nodes
hand no factor to the plugin: it is the plugin's default there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import Cli
from tests.engines.build import test_plugins as examples
from tests.parts import BATCHES
from trtconv.adapters import tensorrt

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]


def operator() -> str:
    loaded = tensorrt.choose("rtx")
    return "Scale" if loaded.at_least(loaded.can.plugins_since) else min(dict(loaded.can.plugin_operators))


@dataclass(frozen=True)
class Example:
    """A plugin as a command takes it, and its file."""

    word: str
    file: Path


FACTOR = 2.5


def named(source: Path, target: Path) -> Path:
    """An example under the operator's name, with the factor as its default."""
    text = source.read_text()
    text = re.sub(r"(else |factor = )1\.0", rf"\g<1>{FACTOR}", text)
    assert str(FACTOR) in text
    target.write_text(re.sub(r'(kNAME = |plugin_namespace = )"Scale"', rf'\1"{operator()}"', text))
    assert operator() in target.read_text()
    return target


@pytest.fixture(params=["python", "compiled"])
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Example:
    if request.param == "python":
        return Example(
            "scale_plugin:creator", named(examples.EXAMPLES / "scale_plugin.py", tmp_path / "scale_plugin.py")
        )
    include = os.environ.get("TRTCONV_TEST_TRT_INCLUDE", "")
    if not include or not shutil.which("nvcc"):
        pytest.skip("TRTCONV_TEST_TRT_INCLUDE names no headers of TensorRT, or there is no nvcc")
    source, library = named(examples.EXAMPLES / "scale.cu", tmp_path / "scale.cu"), tmp_path / "libscale.so"
    script = [sys.executable, ROOT / "scripts/compile_plugin.py", source, "-o", library, "--include", include]
    done = subprocess.run([*script, "--target", "90"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Example("libscale.so", library)


def rename(model: Path) -> None:
    loaded = onnx.load(model)
    for node in loaded.graph.node:
        if node.op_type == "Scale" != operator():
            node.op_type = operator()
            del node.attribute[:]
    onnx.save(loaded, model)


def require_results(
    folder: Path, trtconv: Cli, model: str, feeds: list[dict[str, np.ndarray]], wanted: list[np.ndarray], bound: float
) -> None:
    for given, array in zip(feeds, wanted, strict=True):
        np.savez(folder / "x.npz", **given)
        done = trtconv("infer", model, "--data", "x.npz", "-o", "y.npz", "--allow-code", "--backend", "rtx")
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(np.load(folder / "y.npz")["y"], array, atol=bound, rtol=bound)


def test_engines_with_a_plugin(example: Example, tmp_path: Path, trtconv: Cli) -> None:
    """What is computed, and that a library that is another one or gone is told by name before anything is loaded."""
    examples.net(tmp_path)
    rename(tmp_path / "net.onnx")
    feeds = [{"x": np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)} for rows in (1, 7, 32)]
    wanted = [np.float32(FACTOR) * np.maximum(each["x"], 0) for each in feeds]
    for word in [example.word, *([f"embed:{example.word}"] if example.word.endswith(".so") else [])]:
        done = trtconv("build", "net.onnx", "-o", "net.engine", "--plugin", word, "--allow-code")
        assert done.returncode == 0, done.stderr
        require_results(tmp_path, trtconv, "net.engine", feeds, wanted, 0)
    done = trtconv("build", "net.onnx", "-o", "net.engine", "--plugin", example.word, "--allow-code")
    run = ("infer", "net.engine", "--data", "x.npz", "-o", "y.npz", "--allow-code")
    done = trtconv(*run[:-1])
    assert done.returncode == 2
    assert "--allow-code" in done.stderr
    with example.file.open("ab") as file:
        file.write(b"\n")
    done = trtconv(*run)
    assert done.returncode == 5
    assert f"it was built with another plugin {example.word}" in done.stderr
    example.file.unlink()
    done = trtconv(*run)
    assert done.returncode == 5
    assert f"it needs the plugin {example.word}, and" in done.stderr


def test_a_plugin_inside_of_parts(example: Example, tmp_path: Path, trtconv: Cli) -> None:
    model = examples.net_in_parts(tmp_path, FACTOR, FACTOR)
    wanted = [examples.composed(model).run(feeds)["y"] for feeds in BATCHES]
    rename(model)
    asked = ("--on-refusal", "onnxruntime", "--plugin", example.word, "--allow-code")
    kept = ("--operator", "com.microsoft::QuickGelu=keep")
    done = trtconv("build", "net.onnx", "-o", "net.parts", *asked, *kept)
    assert done.returncode == 0, done.stderr
    require_results(tmp_path, trtconv, "net.parts", BATCHES, wanted, 2e-2)  # convolutions in TF32

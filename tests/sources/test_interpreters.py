"""``source.python`` names an interpreter that is not there, or lacks the framework: every source that takes one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import caffe_networks

SCRIPT = """
import tensorrt as trt
builder = trt.Builder(trt.Logger())
network = builder.create_network(1)
x = network.add_input("x", trt.float32, (1, 4))
network.mark_output(network.add_activation(x, trt.ActivationType.RELU).get_output(0))
builder.build_serialized_network(network, builder.create_builder_config())
"""
MODULE = "from torch import nn\n\ndef make():\n    return nn.Linear(4, 2)\n"
CAFFE = caffe_networks.head("net", 1, 4) + caffe_networks.layer("ReLU", "relu", "data", "y")
SOURCES = {
    "caffe": ("net.prototxt", CAFFE, "net.prototxt", "cv2", "[caffe]"),
    "network": ("net.py", SCRIPT, "net.py", "", ""),
    "pytorch": ("nets.py", MODULE, "nets:make", "torch", "[torch]"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_an_interpreter_that_is_not_there(name: str, tmp_path: Path, trtconv: Any) -> None:
    file, text, model, *_ = SOURCES[name]
    (tmp_path / file).write_text(text)
    done = trtconv("convert", model, "--python", "nowhere/bin/python", "--allow-code", "-o", "net.onnx")
    assert done.returncode in (2, 5), done.stderr
    assert "nowhere/bin/python" in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("name", ["caffe", "pytorch"])
def test_an_interpreter_without_the_framework(name: str, tmp_path: Path, trtconv: Any) -> None:
    file, text, model, package, line = SOURCES[name]
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed here")
    (tmp_path / file).write_text(text)
    given = ("--python", sys.executable, "--allow-code", "--input", "x:1,4") if name == "pytorch" else ()
    done = trtconv("convert", model, *(given or ("--python", sys.executable)), "-o", "net.onnx")
    assert done.returncode == 5, done.stderr
    assert line in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr

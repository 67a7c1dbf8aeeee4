"""Caffe from the command line: what it becomes, and what is said where it cannot."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from scripts import caffe_networks
from tests.sources.caffe.nets import normal

HAS_OPENCV = importlib.util.find_spec("cv2") is not None
with_opencv = pytest.mark.skipif(not HAS_OPENCV, reason="OpenCV is not installed: pip install 'trtconv[caffe]'")

NETWORK = caffe_networks.head("small", 1, 3, 12, 12) + "".join(
    [
        caffe_networks.conv("conv", "data", 8, 3, "pad: 1"),
        caffe_networks.pool("pool", "conv", 3, 2),
        caffe_networks.dense("logits", "pool", 5),
        caffe_networks.layer("Softmax", "prob", "logits", "prob"),
    ]
)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return caffe_networks.write(tmp_path, "net", NETWORK)[0]


def onnx_of(path: Path, feeds: Any) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip((one.name for one in session.get_outputs()), session.run(None, feeds), strict=True))


def test_convert(network: Path, trtconv: Any) -> None:
    done = trtconv(
        "convert", "net.prototxt", "--weights", "net.caffemodel", "-o", "net.onnx", "--input", "data:batch,3,12,12"
    )
    assert done.returncode == 0, done.stderr
    said = (
        "compared with the source on 5 draws of inputs: 1 outputs"
        if HAS_OPENCV
        else "not compared with the source: OpenCV"
    )
    assert said in done.stderr
    found = onnx_of(network.with_name("net.onnx"), {"data": normal(3, 3, 12, 12)})["prob"]
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_cut(network: Path, trtconv: Any) -> None:
    network.write_text(NETWORK + caffe_networks.layer("Mystery", "strange", "prob", "strange"))
    done = trtconv("convert", "net.prototxt", "--weights", "net.caffemodel", "-o", "net.onnx")
    assert done.returncode == 3
    assert "layer 'strange' has the type Mystery" in done.stderr
    assert "convert.outputs: [prob] (--output-name prob)" in done.stderr
    done = trtconv(
        "convert", "net.prototxt", "--weights", "net.caffemodel", "-o", "net.onnx", "--output-name", "logits"
    )
    assert done.returncode == 0, done.stderr
    assert list(onnx_of(network.with_name("net.onnx"), {"data": normal(1, 3, 12, 12)})) == ["logits"]


BAD: dict[str, tuple[Any, list[str], int, list[str]]] = {
    "no weights": ({}, ["net.prototxt"], 2, ["holds no weights", "net.caffemodel lies beside it", "--weights"]),
    "weights alone": ({}, ["net.caffemodel"], 3, ["the weights of a Caffe network", "net.prototxt"]),
    "truncated text": (
        {"net.prototxt": NETWORK[:-4]},
        ["net.prototxt", "--weights", "net.caffemodel"],
        3,
        ["has no '}'", "truncated"],
    ),
    "foreign weights": (
        {"net.caffemodel": "{}"},
        ["net.prototxt", "--weights", "net.caffemodel"],
        3,
        ["not a caffemodel; it looks like a JSON document"],
    ),
    "absent weights": ({}, ["net.prototxt", "--weights", "other.caffemodel"], 2, ["other.caffemodel"]),
    "another net": (
        {"net.prototxt": NETWORK.replace("num_output: 5", "num_output: 6")},
        ["net.prototxt", "--weights", "net.caffemodel"],
        3,
        ["weights are of another network", "'logits'", "[5, 288]", "[6, 288]"],
    ),
    "unknown input": (
        {},
        ["net.prototxt", "--weights", "net.caffemodel", "--input", "date:1,3,12,12"],
        2,
        ["no input 'date'", "data"],
    ),
    "unknown output": (
        {},
        ["net.prototxt", "--weights", "net.caffemodel", "--output-name", "probs"],
        2,
        ["no blob 'probs'", "did you mean 'prob'?"],
    ),
    "layout": (
        {},
        ["net.prototxt", "--weights", "net.caffemodel", "--layout", "data=nchw"],
        2,
        ["channels last", "leave layout out"],
    ),
    "shape that does not fit": (
        {},
        ["net.prototxt", "--weights", "net.caffemodel", "--input", "data:1,3,14,14"],
        3,
        ["weights are of another network", "'logits'"],
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=list(BAD))
def test_bad_input(network: Path, trtconv: Any, case: Any) -> None:
    files, arguments, code, said = case
    for name, content in files.items():
        network.with_name(name).write_text(content)
    done = trtconv("convert", *arguments, "-o", "out.onnx")
    assert done.returncode == code, done.stderr
    for part in said:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert "next:" in done.stderr
    assert not network.with_name("out.onnx").exists()


def test_inspect(network: Path, trtconv: Any) -> None:
    begin = time.monotonic()
    done = trtconv("inspect", "net.prototxt", "--json")
    assert time.monotonic() - begin < 5  # of a machine that does other things too
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["kind"] == "caffe"
    assert facts["layers"] == {"Convolution": 1, "ReLU": 1, "Pooling": 1, "InnerProduct": 1, "Softmax": 1}
    assert facts["parameters"] == 8 * 3 * 9 + 8 + 5 * 8 * 36 + 5
    assert facts["outputs"] == [{"name": "prob", "dtype": "float", "shape": [1, 5]}]
    network.write_text(NETWORK + caffe_networks.layer("Mystery", "strange", "prob", "strange"))
    done = trtconv("inspect", "net.prototxt")
    assert done.returncode == 0, done.stderr
    assert "1 Mystery" in done.stdout


def test_a_started_job_names_the_weights(network: Path, trtconv: Any) -> None:
    assert trtconv("init", "net.prototxt", "-o", "job.yaml").returncode == 0
    assert "  weights: net.caffemodel" in network.with_name("job.yaml").read_text()
    done = trtconv("check", "job.yaml")
    assert done.returncode == 0, done.stderr


def test_weights_decide_whether_a_step_runs_again(network: Path, trtconv: Any) -> None:
    job = network.with_name("job.yaml")
    job.write_text("version: 1\nsource: {path: net.prototxt, weights: net.caffemodel}\nprecision: [fp32]\n")
    assert trtconv("convert", "job.yaml").returncode == 0
    again = trtconv("convert", "job.yaml")
    assert "up to date" in again.stdout
    caffe_networks.write(network.parent, "net", NETWORK, seed=7)
    changed = trtconv("convert", "job.yaml")
    assert "done" in changed.stdout


@with_opencv
def test_what_opencv_computes_otherwise_is_said(network: Path, trtconv: Any) -> None:
    doubted = caffe_networks.layer("LRN", "norm", "conv", "norm", "lrn_param { k: 2 }")
    network.write_text(NETWORK + doubted)
    done = trtconv("convert", "net.prototxt", "--weights", "net.caffemodel", "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    assert (
        "output 'norm' is not compared: OpenCV is no reference for layer 'norm' (LRN), whose k it ignores"
        in done.stderr
    )
    assert "compared with the source on 5 draws of inputs: 1 outputs" in done.stderr

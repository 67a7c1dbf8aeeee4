"""Rows of the source zoo: the models that the Paddle-TensorRT document names, Inception v3, and two of Paddle 1.

The networks are made by ``paddle_networks.py`` in an interpreter that has Paddle (``--python paddle=PYTHON``), which
also runs them. The two of Paddle 1 are files of others, computed here in NumPy.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from source_zoo_models import ROOT, Made, Model, Tools, write_observed

from trtconv.sources.paddle import files, network, parameters

GB = 10**9
CLASSIFIERS = (
    "mobilenet_v1",
    "resnet50",
    "vgg16",
    "resnext50",
    "alexnet",
    "se_resnext50",
    "googlenet",
    "dpn68",
    "inception_v3",
    "icnet",
)
DETECTORS = ("yolov3", "ssd", "mobilenet_ssd", "retinanet")
REGIONS = ("faster_rcnn", "mask_rcnn", "cascade_rcnn")
MEMORY = {"resnet50": 1 * GB, "vgg16": 3 * GB}


def _made(name: str, folder: Path, tools: Tools) -> Made:
    python = tools.python("paddle", "paddle")
    command = [python, ROOT / "scripts" / "paddle_networks.py", name, folder / "net"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} is not made: {done.stderr.strip()[-800:]}")
    found = network.read(files.find(folder / "net"))
    image = found.info(["image"])[0].shape
    shapes = "image=1x2x4" if image[0] == "batch" else ""
    return Made(
        [str(found.files.program), "--python", python],
        found.operators().total(),
        [folder / "net" / "observed.npz"],
        shapes=shapes,
    )


def _mlp(folder: Path, tools: Tools) -> Made:
    """The trained one: tanh between three layers."""
    net = tools.file("paddle/mlp")
    return _perceptron(net, folder, np.tanh)


def _handwriting(folder: Path, tools: Tools) -> Made:
    """A program without its weights: they get a seed."""
    net, random = folder / "net", np.random.default_rng(0)
    shutil.copytree(tools.file("paddle/handwriting"), net)
    for variable in network.read(files.find(net)).program.weights():
        values = random.standard_normal(variable.shape) * np.sqrt(2 / variable.shape[0])
        (net / variable.name).write_bytes(parameters.record(values.astype(np.float32)))
    return _perceptron(net, folder, lambda x: np.maximum(x, 0))


def _perceptron(net: Path, folder: Path, act: Callable[[np.ndarray], np.ndarray]) -> Made:
    found = network.read(files.find(net))
    weights = {name: tensor.array().astype(np.float64) for name, tensor in found.tensors().items()}
    x = np.random.default_rng(1).standard_normal((4, 1, 28, 28)).astype(np.float32)
    hidden = x.reshape(4, -1).astype(np.float64)
    for layer in range(3):
        hidden = hidden @ weights[f"fc_{layer}.w_0"] + weights[f"fc_{layer}.b_0"]
        hidden = act(hidden) if layer < 2 else hidden
    powers = np.exp(hidden - hidden.max(1, keepdims=True))
    (given,), (made,) = found.program.feeds(), found.program.fetches()
    outputs = {made: powers / powers.sum(1, keepdims=True)}
    observed = write_observed(folder / "observed.npz", {given: x}, outputs)
    return Made([str(found.files.program)], found.operators().total(), [observed], shapes=f"{given}=1x2x4")


MODELS: Mapping[str, Model] = {
    **{f"paddle-{name}": Model(partial(_made, name), memory=MEMORY.get(name, 0)) for name in CLASSIFIERS},
    **{f"paddle-{name}": Model(partial(_made, name)) for name in DETECTORS},
    **{f"paddle-{name}": Model(partial(_made, name), unsupported="RoiAlign") for name in REGIONS},
    "paddle-mlp": Model(_mlp),
    "paddle-handwriting": Model(_handwriting),
}

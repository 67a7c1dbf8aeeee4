"""``trtconv inspect`` reads files by itself: TensorFlow cannot be imported here, and weights cost no time."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtconv.core import protobuf_wire

ROOT = Path(__file__).parents[2]
MORE = 100_000_000
ALLOWED = 3.0  # seconds; an idle machine needs 0.3, a loaded one some times as long

BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf2onnx", "keras", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


def field(number: int, *parts: bytes) -> bytes:
    """A field of a protocol buffer."""
    return b"".join(protobuf_wire.message(number, parts))


@pytest.fixture(scope="module")
def large(graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet in every form, each with 100 MB more of weights."""
    folder, more = tmp_path_factory.mktemp("large"), bytes(MORE)
    # NodeDef: name 1, op 2, attr 5 {key 1, value 2: tensor 8 {tensor_content 4}}, as field 1 of GraphDef
    value = field(2, field(8, field(4, more)))
    node = field(1, field(1, b"large"), field(2, b"Const"), field(5, field(1, b"value"), value))
    (folder / "frozen.pb").write_bytes((graphs / "lenet/frozen.pb").read_bytes() + node)
    shutil.copytree(graphs / "lenet/saved", folder / "saved")
    with (folder / "saved/variables/variables.data-00000-of-00001").open("ab") as variables:
        variables.write(more)
    (folder / "model.tflite").write_bytes((graphs / "float.tflite").read_bytes() + more)
    weight = numpy_helper.from_array(np.frombuffer(more, np.float32).reshape(5000, 5000), "w")
    ends = [helper.make_tensor_value_info(name, 1, [1, 5000]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")
    return folder


@pytest.mark.tf
@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("frozen.pb", ["Placeholder", "fc2/Relu", "Conv2D"]),
        ("saved", ["serving_default", "image", "features", "[batch, 12, 12, 4]"]),
        ("model.tflite", ["FULLY_CONNECTED", "scores"]),
        ("model.onnx", ["MatMul", "opset ai.onnx 17", "[1, 5000]"]),
    ],
)
def test_large_files_without_tensorflow(large: Path, trtconv: Any, tmp_path: Path, name: str, tells: list[str]) -> None:
    size = sum(path.stat().st_size for path in [large / name, *(large / name).rglob("*")] if path.is_file())
    assert size > MORE
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = trtconv("inspect", large / name, env=env)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    assert min(seconds) < ALLOWED
    assert [word for word in tells if word not in done.stdout] == []
    assert json.loads(trtconv("inspect", large / name, "--json", env=env).stdout)


@pytest.mark.tf
def test_the_block_works(trtconv: Any, large: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    done = trtconv("convert", large / "saved", "-o", "x.onnx", env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert done.returncode == 5
    assert "pip install" in done.stderr
    assert not (tmp_path / "x.onnx").exists()

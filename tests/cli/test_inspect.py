"""``trtconv inspect`` reads files by itself: TensorFlow cannot be imported here, and weights cost no time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtconv.core import child
from trtconv.core.events import Emit
from trtconv.core.files import exclusive

ROOT = Path(__file__).parents[2]
SIDE = 5000  # a square matrix of float32 with this side is 100 MB
ALLOWED = 3.0  # seconds; an idle machine needs 0.3, a loaded one some times as long

BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf2onnx", "keras", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


def make(folder: Path, _emit: Emit) -> None:
    """One matrix of 100 MB in three forms of TensorFlow; executed in a child process."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    module = tf.Module()
    module.weight = tf.Variable(np.random.default_rng(0).random((SIDE, SIDE), np.float32))
    signature = [tf.TensorSpec([1, SIDE], name="x")]
    module.call = tf.function(lambda x: {"y": tf.nn.relu(x @ module.weight)}, input_signature=signature)
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.call)
    concrete = module.call.get_concrete_function()
    frozen = convert_to_constants.convert_variables_to_constants_v2(concrete)
    (folder / "frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    (folder / "model.tflite").write_bytes(converter.convert())


@pytest.fixture(scope="module")
def large(shared_folder: Path) -> Path:
    """A folder with the matrix in every form."""
    folder = shared_folder / "large"
    with exclusive(shared_folder / "large.lock", on_wait=lambda: None):
        if not (folder / "model.onnx").exists():
            folder.mkdir(exist_ok=True)
            path = {"PYTHONPATH": f"{Path(__file__).parent}:{ROOT}"}
            child.call("test_inspect:make", folder, lambda _: None, shared_folder / "large.log", env=path)
            weight = numpy_helper.from_array(np.ones((SIDE, SIDE), np.float32), "w")
            ends = [helper.make_tensor_value_info(name, 1, [1, SIDE]) for name in "xy"]
            graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:],
                                      [weight])  # fmt: skip
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")
    return folder


@pytest.mark.tf
@pytest.mark.parametrize(("name", "tells"), [
    ("frozen.pb", ["x", "MatMul", "Relu"]),
    ("saved", ["serving_default", "x", "y"]),
    ("model.tflite", ["FULLY_CONNECTED"]),
    ("model.onnx", ["MatMul", "opset ai.onnx 17"]),
])  # fmt: skip
def test_large_files_without_tensorflow(large: Path, trtconv: Any, tmp_path: Path, name: str, tells: list[str]) -> None:
    size = sum(path.stat().st_size for path in [large / name, *(large / name).rglob("*")] if path.is_file())
    assert size > 95e6
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
    facts = json.loads(trtconv("inspect", large / name, "--json", env=env).stdout)
    assert str(SIDE) in json.dumps(facts)


@pytest.mark.tf
def test_the_block_works(trtconv: Any, large: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    done = trtconv("convert", large / "saved", "-o", "x.onnx", env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert done.returncode == 5
    assert "pip install" in done.stderr
    assert not (tmp_path / "x.onnx").exists()

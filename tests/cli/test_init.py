"""The first job file: it fits the model, and check accepts it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.networks import model, node, residual_cnn, value
from trtconv.core.errors import SourceError
from trtconv.job.load import load_job
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.line import line
from trtconv.report.starter import starter


def job_for(network: Any, folder: Path) -> Any:
    onnx.save(network, folder / "net.onnx")
    (folder / "jobs").mkdir()
    (folder / "jobs/net.yaml").write_text(starter(folder / "net.onnx", folder / "jobs"))
    return load_job(folder / "jobs/net.yaml")


def test_a_dynamic_batch_gets_a_profile(tmp_path: Path) -> None:
    job = job_for(residual_cnn(), tmp_path)
    assert job.source.path == tmp_path / "net.onnx"
    assert job.inputs["image"].profile[0].opt == [8]
    assert job.precision == ["fp32", "fp16"]
    names = [step.name for step in line(job, Layout(tmp_path, "net"))]
    assert names == ["convert", *(f"{stage}[{p}]" for p in ("fp32", "fp16") for stage in ("lower", "build", "bench"))]


def test_more_dynamic_dimensions_get_full_shapes(tmp_path: Path) -> None:
    inputs = [value("token ids", ["batch", "length", 4])]
    pair = onnx.helper.make_node("Relu", ["token ids"], ["y"])
    job = job_for(model([pair], inputs, [value("y", ["batch", "length", 4])]), tmp_path)
    assert job.inputs["token ids"].profile[0].max == [32, 256, 4]


def test_fixed_shapes_and_typed_models_stay_as_they_are(tmp_path: Path) -> None:
    scale = {"s": np.float32(0.1), "z": np.int8(0)}
    pairs = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")]
    job = job_for(model(pairs, [value("x", [3, 4])], [value("y", [3, 4])], scale), tmp_path)
    assert job.inputs == {}
    assert job.precision == ["typed"]
    assert job.bench.batch == [3]


def test_numbers_of_something_are_not_measured_at_random(tmp_path: Path) -> None:
    """A table of two rows: any other number ends the run."""
    table = {"table": np.ones((2, 3), np.float32)}
    ids = value("ids", ["batch", 4], onnx.TensorProto.INT64)
    job = job_for(model([node("Gather", "table ids", "y")], [ids], [value("y", ["batch", 4, 3])], table), tmp_path)
    assert job.bench is None
    text = (tmp_path / "jobs/net.yaml").read_text()
    assert "#bench:\n#  batch: [1, 8]\n" in text
    assert "#  data: {path: samples.npz}" in text


def test_every_commented_key_is_a_key(tmp_path: Path) -> None:
    """Uncommented, with files in place, the whole job is valid."""
    onnx.save(residual_cnn(), tmp_path / "net.onnx")
    text = starter(tmp_path / "net.onnx", tmp_path)
    lines = [re.sub(r"^#(?=\w|  \S)", "", text_line) for text_line in text.splitlines()]
    for name in ("calibration.npz", "heldout.npz"):
        np.savez(tmp_path / name, image=np.zeros((1, 8, 8, 1), np.float32))
    (tmp_path / "all.yaml").write_text("\n".join(lines).replace("  #workspace", "  workspace"))
    job = load_job(tmp_path / "all.yaml")
    assert job.calibrate is not None
    assert job.verify is not None
    assert job.convert.outputs == ["probability", "logits"]
    assert len(job.gates) == 2
    assert job.build.workspace == 1 << 30


def test_no_model_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with pytest.raises(SourceError, match="PNG image"):
        starter(tmp_path / "image.png", tmp_path)


def test_the_command_writes_once(tmp_path: Path, trtconv: Any) -> None:
    onnx.save(residual_cnn(), tmp_path / "net.onnx")
    done = trtconv("init", "net.onnx", "-o", "job.yaml")
    assert done.returncode == 0, done.stderr
    assert "trtconv check job.yaml" in (tmp_path / "job.yaml").read_text()
    assert trtconv("check", "job.yaml").returncode == 0
    again = trtconv("init", "net.onnx", "-o", "job.yaml")
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_odd_names_of_files_and_tensors(tmp_path: Path, trtconv: Any) -> None:
    relu = onnx.helper.make_node("Relu", ["${HOME}: x"], ["$$"])
    onnx.save(
        model([relu], [value("${HOME}: x", ["batch", 4])], [value("$$", ["batch", 4])]), tmp_path / "größe 1.onnx"
    )
    done = trtconv("init", "größe 1.onnx", "-o", "my job.yaml")
    assert "next: trtconv check 'my job.yaml'" in done.stdout
    text = (tmp_path / "my job.yaml").read_text()
    (tmp_path / "my job.yaml").write_text(text.replace("#convert:", "convert:").replace("#  outputs", "  outputs"))
    job = load_job(tmp_path / "my job.yaml")
    assert list(job.inputs) == ["${HOME}: x"]
    assert job.convert.outputs == ["$$"]
    assert job.source.path == tmp_path / "größe 1.onnx"


def test_a_link_to_nothing_is_told(tmp_path: Path, trtconv: Any) -> None:
    (tmp_path / "net.onnx").symlink_to("gone.onnx")
    done = trtconv("init", "net.onnx")
    assert done.returncode == 2
    assert "net.onnx is a link to gone.onnx, which is not there" in done.stderr


@pytest.mark.tf
def test_an_open_choice_of_signature_is_made_in_the_job(tmp_path: Path, trtconv: Any) -> None:
    made = f"""
import tensorflow as tf
spec = [tf.TensorSpec([None, 4], tf.float32, name="x")]
class Both(tf.Module):
    @tf.function(input_signature=spec)
    def up(self, x):
        return {{"higher": x + 1}}
    @tf.function(input_signature=spec)
    def down(self, x):
        return {{"lower": x - 1}}
both = Both()
tf.saved_model.save(both, r"{tmp_path / "both"}", signatures={{"up": both.up, "down": both.down}})
"""
    subprocess.run([sys.executable, "-c", made], check=True, capture_output=True)
    assert trtconv("init", "both", "-o", "job.yaml").returncode == 0
    text = (tmp_path / "job.yaml").read_text()
    assert "  signature: down  # or up\n" in text
    assert "outputs: [lower]" in text
    done = trtconv("convert", "job.yaml", "-q")
    assert done.returncode == 0, done.stderr

"""The files beside a model that belong to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trtconv import sources
from trtconv.cli.options import existing
from trtconv.core.errors import UsageError
from trtconv.job.load import load_job
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.line import line


def names(path: Path, form: str) -> set[str]:
    return set(sources.beside(path, sources.row(form)))


def test_parts_of_a_checkpoint(tmp_path: Path) -> None:
    for ending in ("index", "meta", "data-00000-of-00002", "data-00001-of-00002"):
        (tmp_path / f"model.ckpt-7.{ending}").touch()
    (tmp_path / "model.ckpt-70.meta").touch()
    expected = {"model.ckpt-7.meta", "model.ckpt-7.data-00000-of-00002", "model.ckpt-7.data-00001-of-00002"}
    assert names(tmp_path / "model.ckpt-7.index", "checkpoint") == expected
    assert names(tmp_path / "model.ckpt-7.meta", "checkpoint") >= {"model.ckpt-7.data-00000-of-00002"}
    assert sources.beside(tmp_path, sources.row("checkpoint")) == {}


def test_parts_of_a_frozen_graph(tmp_path: Path) -> None:
    (tmp_path / "model.pb").touch()
    assert sources.beside(tmp_path / "model.pb", sources.row("frozen_pb")) == {}
    (tmp_path / "model.pb.json").touch()
    assert sources.beside(tmp_path / "model.pb", sources.row("frozen_pb")) == {
        "model.pb.json": tmp_path / "model.pb.json"
    }


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """An ONNX model with one tensor in a file of its own."""
    weight = numpy_helper.from_array(np.arange(4096, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [4096])],
        [helper.make_tensor_value_info("y", 1, [4096])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return tmp_path / "model.onnx"


def test_parts_of_an_onnx_model(external: Path) -> None:
    assert sources.beside(external, sources.row("onnx")) == {"weights.bin": external.with_name("weights.bin")}
    external.with_name("weights.bin").unlink()
    assert sources.beside(external, sources.row("onnx")) == {}  # the stage that reads the model says that it is missing
    external.write_bytes(external.read_bytes()[:200])
    assert sources.beside(external, sources.row("onnx")) == {}


def test_a_job_looks_at_all_files_of_its_source(external: Path) -> None:
    job = external.with_name("job.yaml")
    job.write_text("version: 1\nsource: {path: model.onnx}\nprecision: fp32\n")
    convert = line(load_job(job), Layout(external.parent, "job"))[0]
    assert convert.stage == "convert"
    assert convert.inputs == {"source": external, "weights.bin": external.with_name("weights.bin")}


def test_a_checkpoint_goes_by_the_start_of_its_names(tmp_path: Path) -> None:
    for ending in ("index", "meta", "data-00000-of-00001"):
        (tmp_path / f"model.ckpt.{ending}").touch()
    job = tmp_path / "job.yaml"
    job.write_text("version: 1\nsource: {path: model.ckpt}\nprecision: fp32\nconvert: {outputs: [out]}\n")
    freeze = line(load_job(job), Layout(tmp_path, "job"))[0]
    assert freeze.stage == "freeze"
    assert set(freeze.inputs.values()) == {
        tmp_path / f"model.ckpt.{e}" for e in ("index", "meta", "data-00000-of-00001")
    }
    assert existing(tmp_path / "model.ckpt") == tmp_path / "model.ckpt"
    with pytest.raises(UsageError, match="no such file or folder"):
        existing(tmp_path / "model.ckp")

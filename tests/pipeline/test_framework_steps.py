"""Steps that measure the source itself: one for each precision, at the batch sizes of all its engines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from trtconv.cli.execute import layout_of
from trtconv.core.records import TensorInfo
from trtconv.job.load import load_job
from trtconv.pipeline.line import line, upto
from trtconv.pipeline.steps import History

JOB = """\
version: 1
source: {path: "nets:net"}
inputs: {x: {shape: [batch, 3, 8, 8], layout: nchw}}
matrix: {precision: [fp32, fp16], batch: [1, 5]}
bench: {duration: 1s, against: [pytorch, onnxruntime, pytorch-compiled]}
"""


def test_one_for_each_precision_at_all_batch_sizes(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("")
    (tmp_path / "job.yaml").write_text(JOB)
    job = load_job(tmp_path / "job.yaml", ())
    steps = line(job, layout_of(job), allow_code=True)
    mine = {node.name: node for node in steps if node.stage == "framework"}
    assert list(mine) == ["framework[fp32]", "framework[fp16]"]
    assert {node.name for node in upto(steps, "bench")} >= set(mine)
    assert not {node.name for node in upto(steps, "verify" if job.verify else "build")} & set(mine)
    half = mine["framework[fp16]"]
    assert half.needs == ("convert",)
    assert half.target is None
    converted = SimpleNamespace(inputs=(TensorInfo("x", "float", ("batch", 3, 8, 8)),))
    request = half.request(History({"convert": converted}, {}))
    assert (request.names, request.precision, request.bench.batches) == (
        ("pytorch", "pytorch-compiled"),
        "fp16",
        (1, 5),
    )
    assert request.profiles[5][0]["x"].optimum == (5, 3, 8, 8)
    assert (request.first, request.device) == (("x",), "gpu")
    measured = next(node for node in steps if node.name == "bench[fp16-b5]")
    assert measured.request(History({}, {})).against == ("onnxruntime",)


def test_a_job_that_does_not_ask_has_none(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("")
    (tmp_path / "job.yaml").write_text(JOB.replace("against: [pytorch, onnxruntime, pytorch-compiled]", "against: []"))
    job = load_job(tmp_path / "job.yaml", ())
    assert [node for node in line(job, layout_of(job), allow_code=True) if node.stage == "framework"] == []

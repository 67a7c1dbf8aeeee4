"""The matrix: which engines, under which names, with what they share."""

from __future__ import annotations

import time

import pytest

from trtconv.core.records import TensorInfo
from trtconv.job.load import load_job
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.line import line, upto
from trtconv.pipeline.matrix import cells, idle
from trtconv.pipeline.plan import forecast

JOB = """\
version: 1
source: {path: model.onnx, format: onnx}
precision: [fp32, fp16]
bench: {batch: [1, 2, 3]}
"""


@pytest.fixture
def job(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"onnx")

    def load(text=""):
        (tmp_path / "job.yaml").write_text(JOB + text)
        return load_job(tmp_path / "job.yaml")

    return load


def test_without_a_matrix_one_cell_per_precision(job):
    assert [(c.label, c.precision) for c in cells(job())] == [("fp32", "fp32"), ("fp16", "fp16")]


def test_product_exclude_include(job):
    text = """\
matrix:
  batch: [1, 8]
  target: [sm86, sm89]
  exclude: [{precision: fp32, target: sm89}, {batch: 8, target: sm86}]
  include: [{precision: bf16, batch: 4}, {precision: fp16, batch: 1, target: sm86}]
"""
    found = cells(job(text))
    assert [c.label for c in found] == ["fp32-b1-sm86", "fp16-b1-sm86", "fp16-b1-sm89", "fp16-b8-sm89", "bf16-b4"]
    last = found[3]
    assert last.job.build.targets == ["sm89"]
    assert last.job.bench.batch == [8]
    assert (last.profile.min, last.profile.opt, last.profile.max) == ([8], [8], [8])


def test_rules_that_change_nothing_are_told(job, trtconv, tmp_path):
    text = """\
matrix:
  batch: [1, 8]
  target: [sm86, sm89]
  exclude: [{precision: fp32, target: sm89}, {batch: 4, target: sm86}, {precision: int8}]
  include: [{precision: fp16, batch: 1, target: sm86}, {precision: fp32, batch: 1, target: sm89}]
"""
    told = [
        "matrix.exclude[1] leaves nothing out: no combination has batch 4, target sm86",
        "matrix.exclude[2] leaves nothing out: no combination has precision int8",
        "matrix.include[0] adds nothing: precision fp16, batch 1, target sm86 is there without it",
    ]
    assert idle(job()) == []
    assert idle(job(text)) == told
    for command in ("plan", "run"):  # the model is none: check ends with that
        said = trtconv(command, tmp_path / "job.yaml").stderr
        assert all(f"warning: {line}" in said for line in told), said


def test_named_profiles_hold_for_every_dynamic_input(job):
    text = "matrix: {profile: {small: {min: 1, opt: 2, max: 4}}}\n"
    cell = cells(job(text))[0]
    interface = (TensorInfo("x", "float", ("batch", 3)), TensorInfo("fixed", "float", (1, 3)))
    assert cell.label == "fp32-small"
    assert list(cell.profiles(interface)) == ["x"]


def test_shared_steps_come_once_and_every_need_is_there(job, tmp_path):
    steps = line(job("matrix: {batch: [1, 8], target: [sm86, sm89]}\n"), Layout(tmp_path, "job"))
    names = [node.name for node in steps]
    assert len(names) == len(set(names))
    assert names.count("convert") == names.count("lower[fp16]") == 1
    assert sum(name.startswith("build") for name in names) == 8
    for index, node in enumerate(steps):
        assert set(node.needs) <= set(names[:index])
    assert len({path for node in steps for path in node.files}) == sum(len(node.files) for node in steps)
    assert [n.stage for n in upto(steps, "lower")] == ["convert", "lower", "lower"]


def test_two_hundred_cells_are_planned_quickly(job, tmp_path):
    text = f"matrix: {{batch: {list(range(1, 26))}, target: [sm80, sm86, sm89, sm120]}}\n"
    start = time.perf_counter()
    rows = forecast(line(job(text), Layout(tmp_path, "job")), Layout(tmp_path, "job"))
    assert sum(r.name.startswith("build") for r in rows) == 200
    assert time.perf_counter() - start < 1.5

"""Inputs whose values decide shapes, through the front door."""

from __future__ import annotations

import json

import pytest

from tests.stages.test_build import deciding

pytestmark = pytest.mark.rtx

JOB = "version: 1\noutput: out\nsource: {path: net.onnx}\nprecision: typed\n"
VALUES = "inputs: {s: {values: {min: [1, 4], opt: [8, 4], max: [16, 4]}}}\n"


def test_a_job_gives_the_range_and_the_facts_tell_it(trtconv, tmp_path):
    deciding(tmp_path / "net.onnx", "Expand")
    (tmp_path / "job.yaml").write_text(JOB)
    missing = trtconv("build", "job.yaml")
    assert missing.returncode == 2
    assert "the values of input 's' decide shapes, and their range is not given" in missing.stderr
    assert "values: {min: [1, 1], opt: [8, 8], max: [32, 32]}" in missing.stderr
    (tmp_path / "job.yaml").write_text(JOB + VALUES)
    done = trtconv("build", "job.yaml")
    assert done.returncode == 0, done.stderr
    (engine,) = (tmp_path / "out").glob("*.engine")
    assert "values [1, 4] / [8, 4] / [16, 4]" in trtconv("inspect", engine).stdout
    (tmp_path / "job.yaml").write_text(JOB + VALUES.replace("16", "32"))
    wider = trtconv("run", "job.yaml", "--json")
    assert json.loads(wider.stdout)["steps"][-1]["status"] == "done"  # another range is another engine


def test_the_option_says_the_same(trtconv, tmp_path):
    deciding(tmp_path / "net.onnx", "Expand")
    done = trtconv("build", "net.onnx", "-o", "m.engine", "--values", "s=1,4x8,4x16,4")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "m.engine.json").read_text())
    assert facts["values"] == [{"s": {"min": [1, 4], "opt": [8, 4], "max": [16, 4]}}]
    reversed_ = trtconv("build", "net.onnx", "-o", "m.engine", "--values", "s=8,4x1,4x16,4")
    assert reversed_.returncode == 2
    assert "expected min <= opt <= max" in reversed_.stderr

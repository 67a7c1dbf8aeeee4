"""Inputs whose values decide shapes, through the front door."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.stages.test_build import built, deciding
from trtconv.core.records import ShapeRange

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


X = np.arange(64, dtype=np.float32).reshape(16, 4)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A folder with an engine that reshapes ``x`` [batch, 4] to what ``s`` says, and samples for it."""
    folder = tmp_path_factory.mktemp("reshape")
    built(deciding(folder / "net.onnx", "Reshape"), values=({"s": ShapeRange((1, 4), (8, 4), (16, 4))},))
    np.save(folder / "x.npy", X)
    for name, value in (("s", [8, 4]), ("small", [4, 4]), ("long", [8, 4, 1]), ("far", [64, 4])):
        np.save(folder / f"{name}.npy", np.array(value))
    return folder


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("net.engine", ("--input", "x=x.npy", "--input", "s=s.npy")),
        ("net.engine", ("--data", "x.npy")),
        ("net.onnx", ("--input", "x=x.npy", "--input", "s=small.npy", "--batch", 4)),
    ],
)
def test_infer_feeds_them_whole_or_by_default(trtconv, tmp_path, engine, model, given):
    out = tmp_path / "out.npz"
    done = trtconv("infer", model, *given, "--backend", "onnxruntime", "-o", out, cwd=engine)
    assert done.returncode == 0, done.stderr
    assert ("input 's' is not given: it holds [8, 4], the optimum" in done.stderr) == ("--data" in given)
    assert np.array_equal(np.load(out)["y"], X)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("long", "input 's' takes 2 values with every batch, and there is an array of shape [3]"),
        ("far", "input 's' holds [64, 4]; the engine was built for [1, 4] to [16, 4]"),
    ],
)
def test_infer_refuses_what_the_engine_was_not_built_for(trtconv, tmp_path, engine, name, said):
    given = ("--input", "x=x.npy", "--input", f"s={name}.npy", "--backend", "onnxruntime", "-o", tmp_path / "out.npz")
    done = trtconv("infer", "net.engine", *given, cwd=engine)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "options", "rows"), [("net.engine", (), 8), ("net.onnx", ("--values", "s=1,4x4,4x16,4", "--batch", 4), 4)]
)
def test_bench_takes_the_optimum(trtconv, engine, model, options, rows):
    quick = ("--backend", "onnxruntime", "--duration", "10ms", "--warmup", "0ms", "--json")
    done = trtconv("bench", model, *options, *quick, cwd=engine)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["bench"]
    assert [measured["batch"] for measured in result["measurements"]] == [rows]
    assert f"input 's' holds [{rows}, 4], the optimum of its values" in result["notes"]


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("net.onnx", (), "--values s=MINxOPTxMAX"),
        ("net.onnx", ("--values", "s=1x4x16"), "min of 's' has 1 numbers, the input [2] has 2"),
        ("net.engine", ("--values", "s=1,4x4,4x16,4"), "leave --values out"),
    ],
)
def test_bench_says_which_option_to_give(trtconv, engine, model, options, said):
    done = trtconv("bench", model, *options, "--backend", "onnxruntime", "--duration", "10ms", cwd=engine)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_job_needs_them_said_once(trtconv, tmp_path):
    """Only the engine knows its ranges: the typed model is verified, run and measured with their optimum."""
    np.savez(tmp_path / "x.npz", x=X)
    deciding(tmp_path / "net.onnx", "Reshape")
    data = "data: {path: x.npz}"
    (tmp_path / "job.yaml").write_text(
        f"{JOB}{VALUES}verify: {{{data}, batch: 8}}\ninfer: {{{data}}}\nbench: {{batch: 8, duration: 10ms}}\n"
    )
    done = trtconv("run", "job.yaml", "--json")
    assert done.returncode == 0, done.stderr
    found = {step["stage"]: step["result"] for step in json.loads(done.stdout)["steps"]}
    assert found["verify"]["samples"] == found["infer"]["samples"] == 16
    assert found["verify"]["verdicts"][0]["outputs"][0]["max_abs"] == 0
    assert np.array_equal(np.load(found["infer"]["output"])["y"], X)
    assert "input 's' holds [8, 4], the optimum of its values" in found["bench"]["notes"]

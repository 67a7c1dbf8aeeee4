"""One job under two versions of TensorRT: the verdict, its reasons and the exit code."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import digits
from tests.conftest import without_gpu
from trtconv.pipeline.upgrade import BROKEN, CHANGED, SAFE, compare

ROOT = Path(__file__).parents[2]
PROFILE = "inputs: {x: {profile: {min: 1, opt: 32, max: 64}}}"
JOB = f"""
version: 1
output: out
source: {{path: digits.onnx}}
{PROFILE}
precision: [fp32, fp16]
verify: {{data: {{path: heldout.npz}}}}
"""


def interpreter(path: Path, api: str) -> Path:
    """A Python that finds the recorded interface of a TensorRT, and a pretended GPU, as all of its children do."""
    place = path.with_name(f"{path.name}-packages")
    place.mkdir()
    pretended = ROOT / "tests/pretended/sitecustomize.py"
    (place / "sitecustomize.py").write_text(
        f"import os, runpy\nos.environ['TRTCONV_TEST_API'] = {api!r}\nrunpy.run_path({str(pretended)!r})\n"
    )
    paths = f"{shlex.quote(str(place))}:{shlex.quote(str(ROOT))}"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {shlex.quote(sys.executable)} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    digits.write(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


@pytest.mark.rtx
def test_the_same_version_is_safe(folder: Path, trtconv: Any) -> None:
    same = ["--from", sys.executable, "--to", sys.executable]
    done = trtconv("upgrade", "job.yaml", *same, "-o", "page.html", "--set", "precision=[fp16]", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["verdict"], found["engines"][0]["findings"]) == (SAFE, [])
    figures = found["engines"][0]["figures"]
    assert figures["engine"]["before"] == figures["engine"]["after"]
    outputs = [note for note in found["notes"] if note.startswith("outputs were not compared: ")]
    assert len(outputs) == bool(without_gpu()), "once, whatever the number of engines"
    assert "latency was not compared: the job has no bench section" in found["notes"]
    page = (folder / "page.html").read_text()
    assert "safe: TensorRT-RTX" in page
    assert not (folder / "out").exists(), "nothing stays"


def test_tensorrt_10_against_11(folder: Path, trtconv: Any) -> None:
    """Through the recorded interfaces, which compute ``2 x``: both build, and what they build is the same."""
    old = interpreter(folder / "old", "tensorrt-10.16.1")
    new = interpreter(folder / "new", "tensorrt-11.4.0")
    (folder / "job.yaml").write_text(JOB.replace("verify: {data: {path: heldout.npz}}\n", ""))
    done = trtconv("upgrade", "job.yaml", "--from", old, "--to", new, "--json", "--keep", "kept")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["versions"]["before"].startswith("TensorRT 10.16.1")
    assert found["versions"]["after"].startswith("TensorRT 11.4.0")
    assert [one["label"] for one in found["engines"]] == ["fp32", "fp16"]
    typed = [(folder / "kept" / side / "job.fp16.onnx").read_bytes() for side in ("from", "to")]
    assert typed[0] == typed[1], "the typed ONNX does not depend on TensorRT"


def test_an_interpreter_that_is_none(folder: Path, trtconv: Any) -> None:
    done = trtconv("upgrade", "job.yaml", "--from", folder / "absent", "--to", sys.executable)
    assert done.returncode == 5
    assert "no Python there" in done.stderr
    assert "-m venv" in done.stderr


def test_an_interpreter_without_what_it_needs(folder: Path, trtconv: Any) -> None:
    bare = folder / "bare"
    bare.write_text(f'#!/bin/sh\nunset PYTHONPATH; exec {shlex.quote(sys.executable)} -S "$@"\n')
    bare.chmod(0o755)
    done = trtconv("upgrade", "job.yaml", "--from", bare, "--to", sys.executable)
    assert done.returncode == 5
    assert "cannot run the job" in done.stderr
    assert "pip install" in done.stderr


def without(folder: Path, package: str) -> Path:
    """A Python that has everything but one package."""
    path = interpreter(folder / f"no-{package}", "tensorrt-10.16.1")
    blocker = path.with_name(f"{path.name}-packages") / "sitecustomize.py"
    blocker.write_text(f"import sys\nsys.modules[{package!r}] = None\n")
    return path


def test_an_interpreter_without_tensorrt_is_no_verdict(folder: Path, trtconv: Any) -> None:
    """Nor one without anything else that is installed by itself: that says nothing of the versions."""
    old = without(folder, "tensorrt_rtx")
    done = trtconv("upgrade", "job.yaml", "--from", old, "--to", sys.executable, "--set", "build.backend=rtx")
    assert done.returncode == 5
    assert f"{old}: backend rtx needs the Python package 'tensorrt_rtx'" in done.stderr
    assert f"next: {old} -m pip install" in done.stderr


@pytest.mark.rtx
def test_a_job_that_neither_builds_ends_as_it_does_alone(folder: Path, trtconv: Any) -> None:
    (folder / "job.yaml").write_text(JOB.replace("opt: 32", "opt: 99"))
    alone = trtconv("run", "job.yaml")
    done = trtconv("upgrade", "job.yaml", "--from", sys.executable, "--to", sys.executable)
    assert done.returncode == alone.returncode != 0
    reason = alone.stderr[alone.stderr.index("trtconv: error: ") + len("trtconv: error: ") :].splitlines()[0]
    assert reason.rpartition("job.yaml")[2] in done.stderr


@pytest.mark.rtx
def test_a_typed_model_is_compared_as_it_is(folder: Path, trtconv: Any) -> None:
    (folder / "job.yaml").write_text("version: 1\nsource: {path: digits.onnx}\nprecision: typed\n" + PROFILE)
    same = ["--from", sys.executable, "--to", sys.executable]
    done = trtconv("upgrade", "job.yaml", *same, "--json")
    assert done.returncode == 0, done.stderr
    (engine,) = json.loads(done.stdout)["engines"]
    assert (engine["label"], engine["verdict"]) == ("typed", SAFE)


def test_each_engine_of_a_matrix_alone(tmp_path: Path) -> None:
    """Those of a job that is refused as a whole, by their own names, and each job has that engine and no other."""
    from tests.engines import models
    from trtconv.job.emit import text
    from trtconv.job.load import load_job
    from trtconv.pipeline.matrix import cells
    from trtconv.pipeline.upgrade import alone, side

    models.conv_net(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=models.images(2))
    (tmp_path / "job.yaml").write_text(MATRIX)
    job = load_job(tmp_path / "job.yaml")
    made = dict(alone(job, side(job, tmp_path / "net.onnx", tmp_path / "job.cache", tmp_path / "out")))
    assert list(made) == [cell.label for cell in cells(job)]
    (tmp_path / "job.cache").write_text("TRT-8601-MinMaxCalibration\nx: 3c010a14\n")
    for label, one in made.items():
        (tmp_path / "one.yaml").write_text(text(one, tmp_path))
        assert [cell.label for cell in cells(load_job(tmp_path / "one.yaml"))] == [label]


MATRIX = """
version: 1
source: {path: net.onnx}
precision: [fp16]
calibrate: {data: {path: data.npz}}
matrix:
  precision: [fp16, int8]
  profile: {small: {min: 1, opt: 2, max: 4}, large: {min: 1, opt: 8, max: 16}}
  target: [sm86]
  exclude: [{precision: int8, profile: small}]
  include: [{precision: fp32, batch: 2}]
"""


def test_an_engine_of_a_matrix_has_no_gates_of_its_neighbours() -> None:
    """fp16-b1 is the start of fp16-b16."""
    one, other = document(label="fp16-b1"), document(label="fp16-b16", kept=False)
    both = {
        "steps": one["steps"] + other["steps"],
        "gates": one["gates"] + other["gates"],
        "errors": {"lower[int8]": {"message": "no such cache", "exit_code": 3}},
    }
    both["steps"].append({"name": "", "stage": "build", "precision": "int8-b1", "outputs": [], "result": None})
    before = {**both, "gates": [{**gate, "passed": True} for gate in both["gates"]]}
    found = {one.label: one for one in compare(before, both, slower=0.1).engines}
    assert {label: one.verdict for label, one in found.items()} == {
        "fp16-b1": SAFE,
        "fp16-b16": BROKEN,
        "int8-b1": BROKEN,
    }
    assert found["int8-b1"].findings[0].text == "built by neither: no such cache"


@pytest.mark.slow
@pytest.mark.rtx
@pytest.mark.skipif("TRTCONV_TEST_RTX_OLD" not in os.environ, reason="TRTCONV_TEST_RTX_OLD names no older TensorRT-RTX")
def test_int8_convolutions_are_built_since_1_7(tmp_path: Path, trtconv: Any) -> None:
    """A true difference: TensorRT-RTX before 1.7 refuses them."""
    from tests.engines import models

    models.conv_net(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=models.images(16))
    (tmp_path / "job.yaml").write_text(
        "version: 1\noutput: out\nsource: {path: net.onnx}\ninputs: {x: {profile: {min: 1, opt: 4, max: 8}}}\n"
        "precision: [fp16, int8]\nmatrix: {batch: [1, 8]}\ncalibrate: {data: {path: data.npz}}\n"
    )
    old = os.environ["TRTCONV_TEST_RTX_OLD"]
    up = trtconv("upgrade", "job.yaml", "--from", old, "--to", sys.executable, "--json")
    assert up.returncode == 0, up.stderr
    down = trtconv("upgrade", "job.yaml", "--from", sys.executable, "--to", old, "--json")
    engines = {one["label"]: one for one in json.loads(down.stdout)["engines"]}
    assert list(engines) == ["fp16-b1", "fp16-b8", "int8-b1", "int8-b8"]
    assert engines["int8-b8"]["verdict"] == BROKEN
    assert engines["int8-b8"]["findings"][0]["text"].startswith("not built: TensorRT-RTX 1.6")
    assert "computes in" in engines["fp16-b8"]["figures"]
    assert down.returncode == 4


def test_operators_that_took_their_places_are_not_asked_for_again(tmp_path: Path) -> None:
    from tests.engines import models
    from trtconv.job.load import load_job
    from trtconv.pipeline.upgrade import side

    models.conv_net(tmp_path / "net.onnx")
    models.conv_net(tmp_path / "f.onnx")
    text = "version: 1\nsource: {path: net.onnx}\noperators: {'my::Quick': f.onnx, 'com.microsoft::Gelu': keep}\n"
    (tmp_path / "job.yaml").write_text(text + "bench: {against: [onnxruntime, pytorch-compiled]}\n")
    made = side(load_job(tmp_path / "job.yaml"), tmp_path / "net.onnx", None, tmp_path / "out")
    assert made["operators"] == {"com.microsoft::Gelu": "keep"}
    assert made["bench"]["against"] == ["onnxruntime"], "nor is the source measured beside them"


def document(**changes: Any) -> dict[str, Any]:
    """What a run says of one engine."""
    build = {
        "flavor": "rtx",
        "version": "1.6",
        "size": 1000,
        "layers": 10,
        "warnings": [],
        "proof": {"found": {}, "promised": {"float16": 1.0}},
    }
    build |= changes.get("build", {})
    label = changes.get("label", "fp16")
    latency = {"median": changes.get("ms", 1.0)}
    bench = {"fell_back": "", "memory": 1 << 20, "measurements": [{"batch": 1, "latency_ms": latency}]}
    stages = {"build": None if changes.get("failed") else build, "bench": bench}
    steps = [
        {
            "name": f"{stage}[{label}]",
            "stage": stage,
            "precision": label,
            "seconds": 1.0,
            "outputs": [],
            "result": result,
        }
        for stage, result in stages.items()
    ]
    errors = {f"build[{label}]": {"message": "cannot parse it", "exit_code": 4}} if changes.get("failed") else {}
    gates = [{"name": f"verify[{label}]", "passed": changes.get("kept", True), "said": "SNR 3 dB", "exit_code": 6}]
    return {"steps": steps, "errors": errors, "gates": gates}


@pytest.mark.parametrize(
    ("before", "after", "verdict", "code", "says"),
    [
        ({}, {}, SAFE, 0, ""),
        ({}, {"build": {"layers": 12}}, CHANGED, 0, "12 layers, before 10"),
        ({}, {"build": {"warnings": ["slow path"]}}, CHANGED, 0, "warns: slow path"),
        ({}, {"build": {"size": 1200}}, CHANGED, 0, "before"),
        ({}, {"build": {"proof": {"found": {"float": 1.0}, "promised": {}}}}, CHANGED, 0, "computes 100.0 % float"),
        ({}, {"failed": True}, BROKEN, 4, "not built: cannot parse it"),
        ({"failed": True}, {}, CHANGED, 0, "built now"),
        ({"failed": True}, {"failed": True}, BROKEN, 4, "built by neither"),
        ({}, {"kept": False}, BROKEN, 6, "SNR 3 dB"),
        ({"kept": False}, {}, CHANGED, 0, "is kept now"),
        ({"kept": False}, {"kept": False}, SAFE, 0, ""),
        ({}, {"ms": 1.2}, BROKEN, 7, "median latency 1.200 ms, before 1.000 ms"),
        ({}, {"ms": 1.05}, SAFE, 0, ""),
    ],
)
def test_the_verdict(before: dict[str, Any], after: dict[str, Any], verdict: str, code: int, says: str) -> None:
    found = compare(document(**before), document(**after), slower=0.1)
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert says in "\n".join(one.text for engine in found.engines for one in engine.findings)

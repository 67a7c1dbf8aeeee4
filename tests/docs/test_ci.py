"""The examples in docs/ci do what they say: Make builds what changed, CI files run, the hook checks."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from tests.conftest import INT8_CONVOLUTIONS
from tests.networks import images, residual_cnn

ROOT = Path(__file__).parents[2]
NAMES = ("one", "two", "three")
JOB = """\
extends: ../base.yaml
source: {{path: ../models/{name}.onnx}}
calibrate: {{data: {{path: ../data/{name}.npz}}}}
"""
BASE = "version: 1\noutput: out\nprecision: [fp16, int8]\nbuild: {workspace: 64MiB}\n"


def samples(path: Path, seed: int) -> None:
    np.savez(path, image=images(20, seed))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three models with their jobs, and ``trtconv`` and a ``pip`` that does nothing on the path."""
    for folder in ("models", "data", "jobs", ".bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / "base.yaml").write_text(BASE)
    for seed, name in enumerate(NAMES):
        onnx.save(residual_cnn(seed, blocks=1), tmp_path / f"models/{name}.onnx")
        samples(tmp_path / f"data/{name}.npz", seed)
        (tmp_path / f"jobs/{name}.yaml").write_text(JOB.format(name=name))
    for name, text in (("trtconv", f'exec {shlex.quote(sys.executable)} -m trtconv "$@"'), ("pip", "exit 0")):
        program = tmp_path / ".bin" / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    shutil.copy(ROOT / "docs/ci/Makefile", tmp_path)
    return tmp_path


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{folder / '.bin'}:{os.environ['PATH']}", "TRTCONV_CACHE": "off", **variables}
    return subprocess.run(["bash", "-ec", command], cwd=folder, env=env, capture_output=True, text=True, check=False)


def make(folder: Path) -> Counter[str]:
    """Run Make, and count the stages that really ran."""
    done = shell("make -j2 FLAGS=--log-json", folder)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return Counter(e["node"] for e in events if e["event"] == "NodeFinished" and e["status"] == "done")


@INT8_CONVOLUTIONS
def test_make_builds_what_changed_and_nothing_else(project: Path) -> None:
    engines = [f"{name}.{precision}.engine" for name in sorted(NAMES) for precision in ("fp16", "int8")]
    line = ("convert", "calibrate", "lower[fp16]", "lower[int8]", "build[fp16]", "build[int8]")
    assert make(project) == dict.fromkeys(line, 3)
    assert sorted(path.name for path in (project / "out").glob("*.engine")) == engines
    again = shell("make -j2", project)
    assert "Nothing to be done" in again.stdout
    assert "trtconv" not in again.stdout

    (project / "data/two.npz").touch()  # the same samples: Make asks, trtconv finds nothing to do
    assert make(project) == {}
    assert "Nothing to be done" in shell("make -j2", project).stdout

    untouched = {path: path.stat().st_mtime_ns for path in (project / "out").glob("*.engine") if "two" not in path.name}
    samples(project / "data/two.npz", seed=99)  # others: the calibration, and what depends on it
    ran = make(project)
    assert set(ran.values()) == {1}
    assert {"calibrate", "lower[int8]", "build[int8]"} <= set(ran)
    assert "convert" not in ran
    assert untouched == {path: path.stat().st_mtime_ns for path in untouched}

    (project / "base.yaml").write_text(BASE.replace("64MiB", "32MiB"))  # all jobs extend it
    assert make(project) == {"build[fp16]": 3, "build[int8]": 3}
    assert "Nothing to be done" in shell("make -j2", project).stdout


def test_make_check(project: Path) -> None:
    assert shell("make check", project).returncode == 0
    (project / "models/two.onnx").unlink()
    failed = shell("make check", project)
    assert failed.returncode != 0
    assert "no such file or folder: ../models/two.onnx" in failed.stderr


@INT8_CONVOLUTIONS
def test_github_workflow(project: Path) -> None:
    workflow = yaml.safe_load((ROOT / "docs/ci/github.yml").read_text())
    for step in workflow["jobs"]["engines"]["steps"]:
        if "run" not in step:
            assert step["uses"].startswith("actions/")
            continue
        done = shell(step["run"], project, GITHUB_STEP_SUMMARY="summary.md", **workflow["env"])
        assert done.returncode == 0, f"{step['run']}\n{done.stderr}"
    assert (project / "summary.md").read_text().count("# ") > 1
    assert sorted(path.name for path in (project / "reports").iterdir()) == [
        "one.html",
        "one.xml",
        "two.html",
        "two.xml",
    ]


@INT8_CONVOLUTIONS
def test_gitlab_job(project: Path) -> None:
    job = yaml.safe_load((ROOT / "docs/ci/gitlab.yml").read_text())["engines"]
    variables = {**job["variables"], "TRTCONV_CACHE": str(project / ".trtconv-cache")}
    for command in (*job["before_script"], *job["script"]):
        done = shell(command, project, **variables)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert list(project.glob("reports/*.xml"))
    assert list((project / ".trtconv-cache").iterdir())


def test_hook_checks_every_job_file(project: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    entry = f"{hook['entry']} jobs/one.yaml jobs/two.yaml"
    assert shell(entry, project).returncode == 0
    (project / "jobs/one.yaml").write_text("precison: fp16\n")
    broken = shell(entry, project)
    assert broken.returncode == 2
    assert "jobs/one.yaml:1:1: unknown key 'precison'" in broken.stderr
    assert "jobs/two.yaml: valid" in broken.stdout


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion(name: str, project: Path) -> None:
    done = shell("trtconv", project, _TRTCONV_COMPLETE=f"{name}_source")
    assert "_TRTCONV_COMPLETE" in done.stdout
    words = shell("trtconv", project, _TRTCONV_COMPLETE="bash_complete", COMP_WORDS="trtconv in", COMP_CWORD="1")
    assert {"plain,init", "plain,inspect", "plain,infer"} <= set(words.stdout.split())

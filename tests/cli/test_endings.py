"""Ctrl-C, SIGTERM and SIGHUP at any moment leave no file behind; pipes that close and streams that are not there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli
from tests.core.test_child import hear_interrupts
from tests.small_jobs import job, one_op

COMMAND = [sys.executable, "-m", "trtconv"]
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
JOB = """\
precision: fp16
calibrate: {data: {path: x.npy}, method: entropy}
verify: {data: {path: x.npy}}
infer: {data: {path: x.npy}, batch: 4}
bench: {duration: 300ms, warmup: 0}
"""


def prepared(folder: Path, samples: int) -> Path:
    one_op(folder / "model.onnx", dims=["batch", 16])
    np.save(folder / "x.npy", np.arange(samples * 16, dtype=np.float32).reshape(-1, 16) % 99)
    job(folder / "job.yaml", JOB)
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "tmp").mkdir(parents=True)
    places = {"TMPDIR": str(folder / "tmp"), "TRTCONV_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **places},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def left(folder: Path) -> Iterator[str]:
    """What should not be there: temporary files and folders of any kind."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        hidden = path.name.startswith(".") and path.name != ".trtconv"
        if hidden or name.endswith(".tmp") or name.startswith("tmp/"):
            yield name


def torture(folder: Path, arguments: list[str], samples: int, moments: int, seed: int) -> None:
    whole = start(prepared(folder / "whole", samples), *arguments)
    began = time.monotonic()
    _, said = whole.communicate(timeout=120)
    length = time.monotonic() - began
    assert whole.returncode == 0, said
    draw, ended = random.Random(seed), 0
    for number in range(moments):
        here, sent = folder / str(number), draw.choice(list(SIGNALS))
        run = start(prepared(here, samples), *arguments)
        time.sleep(0.5 + draw.uniform(0, max(length - 0.5, 0.1)))  # Python itself is not ours to tame
        run.send_signal(sent)
        _, said = run.communicate(timeout=60)
        ended += run.returncode == SIGNALS[sent]
        assert run.returncode in (0, SIGNALS[sent]), (sent, run.returncode, said)
        assert not list(left(here)), (sent, said)
    assert 3 * ended >= moments  # else most moments came too late to say anything


@pytest.mark.rtx
def test_a_job_ends_clean_at_any_moment(tmp_path: Path) -> None:
    torture(tmp_path, ["run", "job.yaml"], 400, 2, 0)


def test_infer_ends_clean_at_any_moment(tmp_path: Path) -> None:
    torture(tmp_path, ["infer", "model.onnx", "--data", "x.npy", "-o", "y.npz", "--batch", "4"], 200_000, 2, 0)


@pytest.mark.rtx
@pytest.mark.slow
def test_sixty_moments_over_all_stages(tmp_path: Path) -> None:
    torture(tmp_path / "job", ["run", "job.yaml"], 400, 40, 1)
    infer = ["infer", "model.onnx", "--data", "x.npy", "-o", "y.npz", "--batch", "4"]
    torture(tmp_path / "infer", infer, 200_000, 10, 2)
    torture(tmp_path / "convert", ["convert", "model.onnx", "-o", "made.onnx"], 4, 10, 3)


def test_a_stage_that_is_killed_leaves_nothing_either(tmp_path: Path) -> None:
    """As when memory runs out: only its parent is left to clean up."""
    folder = prepared(tmp_path / "a", 2_000_000)
    run = start(folder, "infer", "model.onnx", "--data", "x.npy", "-o", "y.npz", "--batch", "4")
    while not list(folder.glob(".y.npz.*.tmp")):
        assert run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.02)
    (child,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    run.communicate(timeout=60)
    assert run.returncode == 1
    assert not list(folder.glob(".*"))


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "a", 4)
    (folder / "tmp").mkdir()
    ignoring = f"trap '' HUP; exec {sys.executable} -m trtconv infer model.onnx --data x.npy -o y.npy"
    run = subprocess.Popen(["sh", "-c", ignoring], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.6)
    run.send_signal(signal.SIGHUP)
    run.communicate(timeout=60)
    assert run.returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Path:
    one_op(tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    return job(tmp_path / "job.yaml", "infer: {data: {path: x.npy}}\n")


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    trtconv = f"{sys.executable} -m trtconv"
    script = line.replace("trtconv", trtconv)
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_a_reader_that_has_seen_enough(small: Path) -> None:
    done = shell(small.parent, "trtconv check job.yaml | true; echo ${PIPESTATUS[0]}")
    assert (done.stdout.strip(), done.stderr) == ("0", "")
    done = shell(small.parent, "trtconv schema | head -1; echo ${PIPESTATUS[0]}")
    assert (done.stdout.split(), done.stderr) == (["{", "0"], "")


@pytest.mark.parametrize("streams", ["2>&-", ">&-", ">&- 2>&-", "<&-", "| true"])
def test_the_outcome_does_not_depend_on_who_listens(small: Path, streams: str) -> None:
    ending = "${PIPESTATUS[0]}" if "|" in streams else "$?"
    bench = "trtconv bench model.onnx --duration 10ms --warmup 0 --gate 'throughput>=1e12'"
    done = shell(small.parent, f"{bench} {streams}; echo {ending} > code")
    assert (small.parent / "code").read_text() == "7\n", done.stderr


def test_a_full_disk_behind_standard_output_is_told(small: Path) -> None:
    done = shell(small.parent, "trtconv schema > /dev/full")
    assert done.returncode == 5
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_any_locale(trtconv: Cli, tmp_path: Path, locale: str) -> None:
    one_op(tmp_path / "model.onnx", dims=["batch", 2])
    np.save(tmp_path / "x.npy", np.array([[1, 0], [0, 1]], np.float32))
    (tmp_path / "classes.txt").write_text("Zürich\n東京\n", encoding="utf-8")
    job(
        tmp_path / "größe.yaml",
        "infer: {format: csv, data: {path: x.npy}, postprocess: [{argmax: {labels: classes.txt}}]}\n",
    )
    env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = trtconv("infer", "größe.yaml", env=env)
    assert done.returncode == 0, done.stderr
    made = next((tmp_path / "build/größe").glob("*.csv")).read_text(encoding="utf-8")
    assert made.splitlines()[1:] == ["0,0,Zürich", "1,1,東京"]
    assert json.loads(trtconv("check", "größe.yaml", "--json", env=env).stdout)

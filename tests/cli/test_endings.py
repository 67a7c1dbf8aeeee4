"""Ctrl-C, SIGTERM and SIGHUP at any moment leave no file behind; pipes that close and streams that are not there."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli, hear_interrupts
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


class Running:
    """A command in a session of its own, whose moments are counted from when it hears signals."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "tmp").mkdir(parents=True)
        self.mark = f"{folder}/tmp"
        places = {"TMPDIR": self.mark, "TRTCONV_CACHE": str(folder / "cache")}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder,
            env={**os.environ, **places},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=hear_interrupts,
        )
        while self.process.poll() is None and not self.hears():
            time.sleep(0.005)
        self.began = time.monotonic()

    def hears(self) -> bool:
        """Whether a handler for SIGTERM is there: Python's own start is not ours to tame."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def end(self) -> tuple[int, str, float]:
        """Exit code, what it said, and seconds since it began to hear."""
        _, said = self.process.communicate(timeout=300)
        return self.process.returncode, said, time.monotonic() - self.began

    def others(self) -> list[str]:
        """Processes that it left behind; those of children that it ended follow them within moments."""
        found = [""]
        for _ in range(100):
            found = []
            for one in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if self.mark.encode() in (one / "environ").read_bytes():
                        found.append((one / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            if not found:
                break
            time.sleep(0.02)
        return found


def left(folder: Path) -> Iterator[str]:
    """What should not be there: temporary files and folders of any kind."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        hidden = path.name.startswith(".") and path.name != ".trtconv"
        if hidden or name.endswith(".tmp") or name.startswith("tmp/"):
            yield name


def torture(folder: Path, arguments: list[str], files: Callable[[Path], Path], moments: int, seed: int) -> None:
    """End a command at random moments, by every signal, sent to it alone or to all of its session, once or twice."""
    code, said, length = Running(files(folder / "whole"), *arguments).end()
    assert code == 0, said
    draw, ended = random.Random(seed), 0
    for number in range(moments):
        here, sent = files(folder / str(number)), draw.choice(list(SIGNALS))
        send = draw.choice([os.kill, os.killpg])  # as docker stop does, and as a terminal does
        again = draw.choice([0.0, 0.0, 0.02, 0.3])
        run = Running(here, *arguments)
        time.sleep(draw.uniform(0, length))
        at = time.monotonic() - run.began
        with contextlib.suppress(ProcessLookupError):
            send(run.process.pid, sent)
            time.sleep(again)
            if again and run.process.poll() is None:
                send(run.process.pid, sent)
        code, said, took = run.end()
        case = (number, signal.Signals(sent).name, send.__name__, again, said)
        assert code in (0, SIGNALS[sent]), (code, *case)
        assert code or at > took / 2, (at, took, *case)  # else it was lost, not late
        assert not list(left(here)), (list(left(here)), *case)
        assert not run.others(), (run.others(), *case)
        ended += code != 0
        length = took if code == 0 else length  # a machine is not always equally busy
        shutil.rmtree(here)
    assert 3 * ended >= moments  # else most moments came too late to say anything


def samples(count: int) -> Callable[[Path], Path]:
    return lambda folder: prepared(folder, count)


@pytest.mark.rtx
def test_a_job_ends_clean_at_any_moment(tmp_path: Path) -> None:
    torture(tmp_path, ["run", "job.yaml"], samples(400), 2, 0)


def test_infer_ends_clean_at_any_moment(tmp_path: Path) -> None:
    torture(tmp_path, ["infer", "model.onnx", "--data", "x.npy", "-o", "y.npz", "--batch", "4"], samples(200_000), 2, 0)


STAGES = {
    "job": ("run job.yaml", 400, 12),
    "calibrate": ("calibrate model.onnx --data x.npy -o c.cache --method entropy", 20_000, 5),
    "lower": ("lower model.onnx -o typed.onnx --precision fp16", 4, 4),
    "build": ("build model.onnx -o m.engine --precision fp16", 4, 5),
    "parts": ("build model.onnx -o m.parts --on-refusal onnxruntime", 4, 5),
    "verify": ("verify model.onnx model.onnx --data x.npy --per-layer", 20_000, 4),
    "infer": ("infer model.onnx --data x.npy -o y.npz --batch 4", 200_000, 6),
    "bench": ("bench model.onnx --duration 500ms", 4, 5),
    "trtexec": ("trtexec --onnx=model.onnx --shapes=x:2x16 --exportOutput=y.json --duration=0 --iterations=3", 4, 5),
    "convert": ("convert model.onnx -o made.onnx", 4, 4),
}
"""Command, samples, moments."""


@pytest.mark.rtx
@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_ends_clean_at_any_moment(tmp_path: Path, stage: str) -> None:
    command, count, moments = STAGES[stage]
    torture(tmp_path, command.split(), samples(count), moments, seed=len(stage))


SOURCES = {
    "job": ("run tensorflow.yaml", 8),
    "freeze": ("freeze saved -o frozen.pb", 5),
    "convert": ("convert saved -o made.onnx", 6),
    "uff": ("uff frozen.pb -o made.onnx", 3),
}


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel, its graph, and a job whose verify runs TensorFlow too."""
    folder = tmp_path_factory.mktemp("tensorflow")
    code = (
        "import tensorflow as tf; m = tf.Module(); m.w = tf.Variable(tf.ones((16, 3)));"
        "f = tf.function(lambda x: {'y': tf.nn.relu(x @ m.w)},"
        " input_signature=[tf.TensorSpec((None, 16), name='x')]);"
        "tf.saved_model.save(m, 'saved', signatures=f)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    subprocess.run([*COMMAND, "freeze", "saved", "-o", "frozen.pb"], cwd=folder, check=True, capture_output=True)
    np.save(folder / "x.npy", np.ones((8, 16), np.float32))
    (folder / "tensorflow.yaml").write_text(f"version: 1\nsource: {{path: saved}}\n{JOB}")
    return folder


@pytest.mark.rtx
@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("stage", SOURCES)
def test_what_reads_tensorflow_ends_clean_at_any_moment(tmp_path: Path, tensorflow: Path, stage: str) -> None:
    command, moments = SOURCES[stage]
    torture(tmp_path, command.split(), lambda folder: Path(shutil.copytree(tensorflow, folder)), moments, seed=1)


def test_a_stage_that_is_killed_leaves_nothing_either(tmp_path: Path) -> None:
    """As when memory runs out: only its parent is left to clean up."""
    folder = prepared(tmp_path / "a", 2_000_000)
    run = Running(folder, "infer", "model.onnx", "--data", "x.npy", "-o", "y.npz", "--batch", "4").process
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

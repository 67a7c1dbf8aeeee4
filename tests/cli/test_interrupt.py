"""Ctrl-C during a measurement, through the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.conftest import hear_interrupts
from tests.engines.models import conv_net

COMMAND = [sys.executable, "-m", "trtconv"]


def interrupted(*arguments: str | Path, after: float, batch: int | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a command that gets Ctrl-C when it has measured (a batch) for so many seconds."""
    run = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--log-json"],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.PIPE,
        preexec_fn=hear_interrupts,
    )
    assert run.stderr is not None
    said = []
    for line in run.stderr:
        said.append(line)
        event = json.loads(line)
        here = batch is None or event.get("label") == f"batch {batch}"
        if here and event.get("unit") == "s" and event["done"] >= after:
            run.send_signal(signal.SIGINT)
            break
    out, rest = run.communicate(timeout=60)
    return run.returncode, out, "".join(said) + rest


def test_what_was_measured_so_far_is_printed_and_marked(tmp_path: Path) -> None:
    model = conv_net(tmp_path / "net.onnx")
    began = time.monotonic()
    code, out, said = interrupted("bench", model, "--batch", "2", "--duration", "100s", "--json", after=0.7)
    assert code == 130, said
    assert time.monotonic() - began < 60
    result = json.loads(out)["bench"]
    (measured,) = result["measurements"]
    assert result["partial"]
    assert measured["partial"]
    assert measured["queries"] > 0
    assert 0.1 < measured["wall"] < 50
    assert "the numbers are partial" in said


def test_batches_measured_before_are_whole(tmp_path: Path) -> None:
    model = conv_net(tmp_path / "net.onnx")
    code, out, said = interrupted(
        "bench", model, "--batch", "1,2,4", "--warmup", "0.1s", "--duration", "1s", after=0.5, batch=2
    )
    assert code == 130, said
    assert "note: partial: interrupted" in out
    rows = [line for line in out.splitlines() if line.split() and line.split()[0].isdigit()]
    assert [row.split()[0] for row in rows][:2] == ["1", "2"]  # a slow machine may be at the next one by now
    assert "batch 1: partial" not in out


def test_a_jobs_measurement_too_and_it_is_not_kept(tmp_path: Path) -> None:
    conv_net(tmp_path / "net.onnx")
    job = tmp_path / "job.yaml"
    job.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "name": "net",
                "source": {"path": "net.onnx"},
                "precision": "fp32",
                "build": {"backend": "rtx", "targets": ["sm86"]},
                "bench": {"backend": "onnxruntime", "batch": 2, "duration": "100s"},
            }
        )
    )
    code, out, said = interrupted("bench", job, after=0.7)
    assert code == 130, said
    assert "partial" in out
    assert "finished steps stay finished" in said
    again, out, said = interrupted("bench", job, after=0.3)  # not taken for done
    assert again == 130, said
    assert "partial" in out


def test_before_anything_was_measured_nothing_is_printed(tmp_path: Path) -> None:
    model = conv_net(tmp_path / "net.onnx")
    code, out, said = interrupted("bench", model, "--warmup", "50s", "--duration", "100s", after=0.3)
    assert (code, out) == (130, "")
    assert "interrupted before anything was measured" in said

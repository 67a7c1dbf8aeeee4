"""What trtexec's flags print and write is one and the same; percentiles that are not printed are judged too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.small_jobs import job, one_op

pytestmark = pytest.mark.rtx


def test_outputs_are_printed_whatever_else_is_asked(trtconv: Cli, tmp_path: Path) -> None:
    one_op(tmp_path / "m.onnx")
    line = "trtexec --onnx=m.onnx --shapes=x:2x4 --duration=0 --iterations=2 --dumpOutput"
    done = trtconv(*line.split(), "--saveEngine=m.engine", "--exportOutput=y.json")
    assert done.returncode == 0, done.stderr
    assert "PASSED" in done.stdout
    printed = re.search(r"Output Tensors:\n(?:.*\n)*?((?:[-\d.e]+ ?)+)\n", done.stdout)
    assert printed, done.stdout
    (output,) = [one for one in json.loads((tmp_path / "y.json").read_text()) if one["name"] == "y"]
    assert [float(text) for text in printed[1].split()] == pytest.approx(output["values"], rel=1e-4)
    assert (tmp_path / "m.engine").exists()


@pytest.mark.parametrize("percentiles", ["75", "1,99.9"])
def test_percentiles_that_are_not_printed(trtconv: Cli, tmp_path: Path, percentiles: str) -> None:
    one_op(tmp_path / "model.onnx")
    text = f"bench: {{percentiles: [{percentiles}], duration: 20ms, warmup: 0s}}\n"
    job(
        tmp_path / "job.yaml", f"{text}gates: [{{measure: latency_p50, max: 10s}}, {{measure: latency_p99, max: 1s}}]\n"
    )
    done = trtconv("bench", "job.yaml", "--save-baseline", "base.json")
    assert done.returncode == 0, done.stderr
    gates = "gates: [{measure: latency_p50, baseline: base.json, tolerance: 0.99}, {measure: latency_p99, max: 1e-6}]\n"
    job(tmp_path / "job.yaml", text + gates)
    done = trtconv("bench", "job.yaml")
    assert done.returncode == 7, done.stderr
    assert "latency_p99" in done.stderr
    assert "latency_p50" not in done.stderr

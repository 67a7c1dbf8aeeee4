"""Held-out digits classified through YAML alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import digits


def classified(folder: Path, *options: str) -> tuple[dict, Path]:  # type: ignore[type-arg]
    """The results of ``trtconv infer job.yaml``, and the table that it wrote."""
    job, labels = digits.write(folder)
    done = subprocess.run(
        [sys.executable, "-m", "trtconv", "infer", job, "--json", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (table,) = folder.glob("out/**/*.csv")
    digits.check(table, labels)
    (step,) = [step for step in json.loads(done.stdout)["steps"] if step["stage"] == "infer"]
    return step["result"], table


@pytest.mark.rtx
def test_labels_and_the_top_three_in_a_table(tmp_path: Path) -> None:
    from trtconv.adapters import cuda_driver

    if cuda_driver.gpus():
        pytest.skip("this machine has a GPU: see tests/gpu")
    result, _ = classified(tmp_path, "--set", "build.targets=[sm86]")
    assert result["runner"].startswith("ONNX Runtime ")
    assert result["fell_back"]
    assert result["samples"] == 360

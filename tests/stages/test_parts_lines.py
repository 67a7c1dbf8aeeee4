"""Each kind of model that fallback is for, from the command to its results: equal to the whole under ONNX Runtime."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import INT8_CONVOLUTIONS, Cli
from tests.parts import kinds, ops, require_equal
from tests.parts_lines import LARGE, LINES, Line
from trtconv.core import strict_json
from trtconv.engines.plan import manifest
from trtconv.graph import model_io, partition
from trtconv.graph.partition import Reason

pytestmark = pytest.mark.rtx


FOREIGN = ("BiasGelu", "QuickGelu")


def job(line: Line, folder: Path) -> None:
    """A job that builds the parts and verifies them at all corners."""
    document: dict[str, Any] = {
        "version": 1,
        "name": "net",
        "output": "out",
        "source": {"path": line.model.name},
        "operators": {f"com.microsoft::{op}": "keep" for op in FOREIGN if op.encode() in line.model.read_bytes()},
        "precision": ["typed"],
        "build": {"fallback": "onnxruntime", "backend": "rtx"},
        "verify": {"data": {"path": "x.npz"}, "shapes": "bounds" not in line.options},
    }
    for name, span in (line.options.get("profiles") or ({},))[0].items():
        bounds = {"min": list(span.minimum), "opt": list(span.optimum), "max": list(span.maximum)}
        document["inputs"] = {name: {"profile": bounds}}
    for name, span in line.options.get("bounds", {}).items():
        bounds = {"min": list(span.minimum), "opt": list(span.optimum), "max": list(span.maximum)}
        document["build"]["partition"] = {"bounds": {name: bounds}}
    (folder / "job.yaml").write_text(strict_json.dumps(document))
    np.savez(folder / "x.npz", **line.feeds[-1])


def require_line(line: Line, folder: Path, trtconv: Cli) -> manifest.Manifest:
    job(line, folder)
    done = trtconv("run", "job.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    steps = {step["stage"]: step for step in json.loads(done.stdout)["steps"]}
    found = manifest.read(Path(steps["build"]["outputs"][0]))
    assert kinds(found) == list(line.kinds)
    assert line.fallen <= ops(found)
    share = found.facts["share"]["products"]
    assert share is None or share >= line.share
    verdict = next(v for v in steps["verify"]["result"]["verdicts"] if v["label"] == "engine")
    assert "CPU" in verdict["runner"]  # it says that no engine ran
    require_equal(line.model, found, line.feeds)
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=INT8_CONVOLUTIONS if n == "quantized pairs" else ()) for n in LINES]
)
def test_a_whole_line(name: str, tmp_path: Path, trtconv: Cli) -> None:
    found = require_line(LINES[name](tmp_path), tmp_path, trtconv)
    if name == "quantized pairs":
        assert {one["dtype"] for part in found.parts for one in (*part["inputs"], *part["outputs"])} == {"float"}
        assert "DequantizeLinear_m3_f" in {*found.parts[2]["copied"], *found.parts[2]["nodes"]}


@pytest.mark.slow
def test_densenet121(tmp_path: Path, trtconv: Cli) -> None:
    """Five engines, cut in less than a tenth of a second, and no constant is cut."""
    line = LARGE["DenseNet121"](tmp_path)
    model = model_io.load(line.model)
    partition.prepare(model)
    refused = {n.name: Reason("parser", "") for n in model.graph.node if n.op_type == "QuickGelu"}
    began = time.process_time()
    parts = partition.partition(model, refused).parts
    assert time.process_time() - began < 0.1
    assert [part.engine for part in parts] == [True, False] * 4 + [True]
    found = require_line(line, tmp_path, trtconv)
    assert all(len(part["inputs"]) <= 2 for part in found.parts)

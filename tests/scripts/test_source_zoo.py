"""The source zoo's script: rows of all sources, what counts as missed, and rows that lack what they need."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "source_zoo.py"
TEXT = '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 2] x) => (float[n, 2] y) { y = Add(x, x) }'


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import source_zoo

    return source_zoo


def test_rows_of_every_source_have_names_of_their_own(zoo: Any) -> None:
    found = zoo.zoo()
    assert {source for source, _ in found.values()} <= set(zoo.SOURCES)
    assert {"lenet", "mobilenet_ssd_caffe"} <= found.keys()


@pytest.mark.parametrize(("added", "absolute", "error"), [(0.0, False, 0), (0.5, False, 0.5 / 8), (0.5, True, 0.5)])
def test_errors(zoo: Any, tmp_path: Path, added: float, absolute: bool, error: float) -> None:
    onnx.save(parser.parse_model(TEXT), tmp_path / "m.onnx")
    x = np.array([[1, 2], [3, 4]], np.float32)
    np.savez(tmp_path / "o.npz", **{"in.x": x, "out.y": 2 * x + np.array([[0, 0], [added, 0]], np.float32)})
    assert zoo.largest_error(tmp_path / "o.npz", tmp_path / "m.onnx", absolute) == pytest.approx(error)


def test_one_model_through_the_front_door(zoo: Any, tmp_path: Path) -> None:
    """A row whose framework says something else than the model computes is missed."""
    import source_zoo_models as rows

    def make(folder: Path, _: Any) -> Any:
        onnx.save(parser.parse_model(TEXT), folder / "m.onnx")
        x = np.ones((2, 2), np.float32)
        return rows.Made([str(folder / "m.onnx")], 1, [rows.write_observed(folder / "o.npz", {"x": x}, {"y": 3 * x})])

    options = argparse.Namespace(python=[], files=tmp_path, no_build=True)
    row = zoo.judge("wrong", "caffe", rows.Model(make), tmp_path, options)
    assert row.missed == ("error 0.33 is over 1e-05",)
    assert (row.nodes, row.layers, row.samples) == (1, 1, 1)
    assert row.peak > 0
    row = zoo.judge("allowed", "caffe", rows.Model(make, bound=0.5, memory=1), tmp_path, options)
    assert "converting took" in row.missed[0]


def test_a_row_without_what_it_needs_is_left_out_and_named(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "lenet", "--no-build", "--files", tmp_path, "--results", tmp_path / "results"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lacks = "FILES=FOLDER" if importlib.util.find_spec("cv2") else "OPENCV=PYTHON"
    assert lacks in done.stdout
    assert "1 left out" in done.stdout
    assert lacks in json.loads((tmp_path / "results/lenet.json").read_text())["left"]

"""The zoo's script: its own measure of errors, what it counts as missed, and one model through the front door."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "convert_zoo.py"


@pytest.fixture
def zoo(monkeypatch, tmp_path):
    """The script as a module; its results go to a folder of the test."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import convert_zoo

    monkeypatch.setattr(convert_zoo, "FOLDER", tmp_path)
    return convert_zoo


def test_errors_are_measured_against_what_tensorflow_observed(zoo, tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 2] x) => (float[n, 2] y) { y = Add(x, x) }'
    onnx.save(parser.parse_model(text), tmp_path / "m.onnx")
    x = np.array([[1, 2], [3, 4]], np.float32)
    np.savez(tmp_path / "o.npz", **{"in.anything": x, "out.whatever": 2 * x + np.float32([[0, 0], [0.5, 0]])})
    assert zoo.largest_error(tmp_path / "o.npz", tmp_path / "m.onnx") == pytest.approx(0.5 / 8)
    np.savez(tmp_path / "o.npz", **{"in.x": x, "out.y": 2 * x[:, :1]})
    assert zoo.largest_error(tmp_path / "o.npz", tmp_path / "m.onnx") == np.inf


def test_what_cannot_be_built_has_to_be_named_twice(zoo):
    plain, without = zoo.ZOO["tflite"], zoo.ZOO["nms"]
    assert zoo._expected(plain, "", "builds in 1.0 s")
    assert not zoo._expected(plain, "", "cannot build: NonMaxSuppression")
    assert not zoo._expected(plain, "node 'a' (Loop): no", "builds in 1.0 s")
    assert zoo._expected(without, "node 'a' (NonMaxSuppression): no", "cannot build: NonMaxSuppression_7")
    assert not zoo._expected(without, "", "cannot build: NonMaxSuppression_7")


def test_the_table_holds_every_result_and_ends_with_what_was_missed(zoo, tmp_path, monkeypatch, capsys):
    good = zoo.Row("lstm", (), 17, 23, 9.8, 1 << 29, 4e-7, 0, "takes all", "builds in 1.8 s")
    bad = replace(good, name="gru", missed=("error 0.1 is over 1e-04",), error=0.1)
    refused = replace(good, name="nms", parser="node 'n' has no kernel", builder="cannot build n")
    for row in (good, bad, refused):
        (tmp_path / f"{row.name}.json").write_text(json.dumps(asdict(row)))
    monkeypatch.setattr(sys, "argv", ["convert_zoo.py", "--table", "--markdown", str(tmp_path / "t.md")])
    with pytest.raises(SystemExit) as ended:
        zoo.main()
    assert ended.value.code == 1
    text = capsys.readouterr().out
    assert re.search(r"lstm +SavedModel, Keras 3 +17 +23 +9\.8 +512\.0 MiB +4\.0e-07 +0 +takes all +builds", text)
    assert re.search(r"nms .* refuses +refuses\n", text)
    assert text.endswith("nms: node 'n' has no kernel\nnms: cannot build n\ngru: error 0.1 is over 1e-04\n")
    assert (tmp_path / "t.md").read_text().splitlines()[2].startswith("| lstm | SavedModel, Keras 3 | 17 | 23 |")


def test_an_unknown_model_names_the_known_ones():
    done = subprocess.run([sys.executable, SCRIPT, "AlexNet"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no model 'AlexNet'; there are ResNet50, ResNet101" in done.stderr


GROWING = """
import subprocess, sys
held = b"x" * (200 << 20)
for _ in range(30):
    subprocess.run([sys.executable, "-c", "pass"])
subprocess.run([sys.executable, "-c", "import time; held = b'x' * (100 << 20); time.sleep(0.3)"])
"""


def test_memory_is_that_of_all_processes_and_a_fork_is_none_yet(zoo):
    run = zoo.watch([sys.executable, "-c", GROWING])
    assert run.code == 0
    assert 300 << 20 < run.peak < 350 << 20


@pytest.mark.tf
@pytest.mark.rtx
@pytest.mark.slow
def test_one_model_from_tensorflow_to_an_engine(zoo, tmp_path):
    row = zoo.judge("module-decode", zoo.ZOO["module-decode"], tmp_path)
    assert row.missed == ()
    assert (row.opset, row.transposes, row.parser) == (17, 0, "takes all")
    assert row.error < 1e-6
    assert row.peak > 100 << 20

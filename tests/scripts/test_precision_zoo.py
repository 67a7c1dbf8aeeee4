"""The zoo's script, on its smallest network and without TensorFlow's part: every row is made by the stages."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest

from tests import networks
from tests.conftest import INT8_CONVOLUTIONS

SCRIPT = Path(__file__).parents[2] / "scripts" / "precision_zoo.py"


@pytest.fixture
def zoo(monkeypatch, tmp_path):
    """The script as a module, with a ready network in place of the first."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import precision_zoo

    onnx.save(networks.residual_cnn(), tmp_path / "model.onnx")
    np.savez(tmp_path / "calibration.npz", image=networks.images(16))
    np.savez(tmp_path / "heldout.npz", image=networks.images(8, 5))
    return precision_zoo


@INT8_CONVOLUTIONS
def test_rows_tell_what_the_stages_did(zoo, tmp_path):
    bf16, int8, fp8 = (zoo.row("small", tmp_path, precision, "minmax") for precision in ("bf16", "int8", "fp8"))
    assert bf16.snr is not None
    assert bf16.snr > 40  # 8 bits, computed strictly
    assert (int8.label, int8.verdicts) == ("int8 minmax", {"sm86": "ok", "sm89": "ok"})
    typed = onnx.load(tmp_path / "int8-minmax.onnx")
    assert int8.pairs == networks.ops(typed).count("QuantizeLinear")
    wanted = networks.run(networks.residual_cnn(), {"image": networks.images(8, 5)})
    evaluator = onnx.reference.ReferenceEvaluator(typed)
    rounded = evaluator.run(None, {"image": networks.images(8, 5)})
    got = dict(zip(evaluator.output_names, rounded, strict=True))
    assert int8.snr == pytest.approx(min(networks.decibels(wanted[n], got[n]) for n in wanted), abs=0.1)
    assert fp8.verdicts == {"sm86": "needs 8.9", "sm89": "ok"}


def test_rows_are_kept_until_the_code_changes(zoo, tmp_path, monkeypatch):
    made = []

    def row(name, folder, precision, method, times):
        label = f"{precision} {method}" if precision == "int8" else precision
        made.append(label)
        return zoo.Row(name, label, 0, 1, 40.0, 0, None, None, 1.0, 50.0, dict.fromkeys(zoo.TARGETS, "ok"))

    monkeypatch.setattr(zoo, "FOLDER", tmp_path.parent)
    monkeypatch.setattr(zoo, "ZOO", {tmp_path.name: zoo.ZOO["lstm"]})
    monkeypatch.setattr(zoo, "row", row)
    options = argparse.Namespace(table=False, compare=True, modelopt=None)
    first = list(zoo.results(tmp_path.name, options))
    assert len(first) == len(made) == len(zoo.PRECISIONS)
    assert list(zoo.results(tmp_path.name, options)) == first
    assert len(made) == len(zoo.PRECISIONS)
    monkeypatch.setattr(zoo, "code", lambda: "other")
    assert [one.cells()[1][-1] for one in zoo.results(tmp_path.name, argparse.Namespace(table=True))] == ["*"] * 7
    list(zoo.results(tmp_path.name, options))
    assert len(made) == 2 * len(zoo.PRECISIONS)


def test_what_the_zoo_shows(zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path.parent)

    def made(label, snr, drop=0.0, seconds=1.0, verdict="ok"):
        kept = None if label.split()[0] in ("onnxruntime", "modelopt") else 0
        return zoo.Row(tmp_path.name, label, kept, 1, snr, 0, 99.0, drop, seconds, 50.0, {"sm86": verdict})

    good = [made("int8 minmax", 39.0, 0.6), made("int8 mse", 40.0, 0.3), made("modelopt max", 40.4, 9.0, 2.0)]
    assert all(holds for holds, _ in zoo.shown(good))
    for worse in (
        made("int8 minmax", 39.0, 1.1),
        made("fp16", 60.0, verdict="BuildError: no"),
        made("modelopt entropy", 40.6, seconds=2.0),
        made("int8 percentile", 38.0, seconds=3.0),
        made("onnxruntime MinMax", 41.0, seconds=3.0),
    ):
        missed = [what for holds, what in zoo.shown([*good, worse]) if not holds]
        assert missed
        assert all(worse.label in what or worse.label.split()[0] in what for what in missed)
    assert any(not holds for holds, _ in zoo.shown([made("int8 minmax", 39.0, 0.6)]))


def test_an_unknown_network_names_the_known_ones():
    done = subprocess.run([sys.executable, SCRIPT, "AlexNet"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no network 'AlexNet'; there are digits, digits-vit" in done.stderr

"""The zoo's script, on its smallest network and without TensorFlow's part: every row is made by the stages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import networks

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


@pytest.mark.rtx
def test_rows_tell_what_the_stages_did(zoo, tmp_path):
    precisions = [("bf16", "minmax"), ("int8", "minmax"), ("fp8", "minmax")]
    bf16, int8, fp8 = (dict(zip(zoo.HEADER, row, strict=True)) for row in zoo.rows("small", tmp_path, precisions))
    assert bf16["SNR dB"] == "build only"
    assert (int8["precision"], int8["sm86"], int8["sm89"]) == ("int8 minmax", "ok", "ok")
    typed = onnx.load(tmp_path / "int8-minmax.onnx")
    assert int8["Q/DQ"] == str(networks.ops(typed).count("QuantizeLinear"))
    wanted, got = (networks.run(model, {"image": networks.images(8, 5)}) for model in (networks.residual_cnn(), typed))
    assert float(int8["SNR dB"]) == pytest.approx(min(networks.decibels(wanted[n], got[n]) for n in wanted), abs=0.1)
    assert (fp8["sm86"], fp8["sm89"]) == ("needs 8.9", "ok")


def test_an_unknown_network_names_the_known_ones():
    done = subprocess.run([sys.executable, SCRIPT, "AlexNet"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no network 'AlexNet'; there are digits, digits-vit" in done.stderr

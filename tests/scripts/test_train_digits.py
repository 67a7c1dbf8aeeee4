"""The demo's data: the parts do not overlap, the names are those of the job file, and the network has learnt."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.tf
SCRIPT = Path(__file__).parents[2] / "scripts/train_digits.py"
SCORE = """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1] + "/saved_model")
serve = model.signatures["serving_default"]
(image,) = serve.structured_input_signature[1].values()
held_out = np.load(sys.argv[1] + "/heldout.npz")
logits = serve(image=tf.constant(held_out["image"]))["logits"].numpy()
accuracy = np.mean(logits.argmax(1) == held_out["labels"])
print(image.name, image.shape.as_list(), image.dtype.name, logits.shape, accuracy)
"""


def rows(images: Any) -> list[bytes]:
    return [image.tobytes() for image in images.astype(np.float32).reshape(len(images), 64)]


def test_parts(digits_data: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    calibration = np.load(digits_data / "calibration.npz")
    held_out = np.load(digits_data / "heldout.npz")
    assert list(calibration) == ["image"]
    assert calibration["image"].shape == (512, 8, 8, 1)
    assert held_out["image"].shape == (360, 8, 8, 1)
    assert held_out["labels"].dtype == np.int64
    assert np.bincount(held_out["labels"]).min() >= 34  # every digit in proportion: 174 to 183 of 1,797 images each
    everything = dict(zip(rows(digits.images / 16), digits.target, strict=True))
    assert [everything[row] for row in rows(held_out["image"])] == held_out["labels"].tolist()
    assert not set(rows(calibration["image"])) & set(rows(held_out["image"]))
    assert set(rows(calibration["image"])) <= set(everything)


def test_saved_model(digits_data: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCORE, digits_data], capture_output=True, text=True, check=True)
    interface, _, accuracy = done.stdout.strip().rpartition(" ")
    assert interface == "image [None, 8, 8, 1] float32 (360, 10)"
    assert float(accuracy) > 0.95


@pytest.mark.slow
def test_full_training_repeats_and_reaches_its_goal(tmp_path: Path) -> None:
    for name in ("first", "second", "second"):  # the third run replaces what the second left
        command = [sys.executable, SCRIPT, "--output", tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = re.search(r"(\d+\.\d+) % of 360 held-out", done.stdout)
        assert found is not None
        assert float(found[1]) >= 97
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
    weights = [tmp_path / name / "saved_model/variables/variables.data-00000-of-00001" for name in ("first", "second")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_missing_package_is_named_with_its_line(tmp_path: Path) -> None:
    program = (
        f"import sys, runpy; sys.modules['sklearn'] = None; sys.argv = ['x', '--output', {str(tmp_path / 'out')!r}]\n"
    )
    program += f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install -e '.[tf]' scikit-learn" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []

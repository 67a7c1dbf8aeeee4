"""Scaling and cutting as torchvision, Keras and OpenCV do it: at most one step of 255 beside them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.data import conventions
from trtconv.data.preprocess import prepare

MODULES = {"torchvision": "torchvision", "keras": "keras", "opencv": "cv2"}
EACH = [(library, name) for library, cases in conventions.CASES.items() for name in cases]
INTERPRETERS = "TRTCONV_TEST_IMAGES"  # interpreters that have the libraries, separated by colons


def compare(library: str, name: str, wanted: dict[str, np.ndarray]) -> float:
    """The largest difference."""
    largest = 0.0
    for which, pixels in conventions.PICTURES.items():
        chain = prepare(conventions.CASES[library][name])
        assert chain is not None
        for form in (pixels(), Image.fromarray(pixels())):
            form_of: Any = chain.form(pixels().shape, np.dtype(np.uint8))
            found, want = chain(form), wanted[f"{name}, {which}"]
            assert found.shape == want.shape == form_of.shape
            largest = max(largest, float(np.abs(found.astype(np.float64) - want).max()))
    assert largest <= 1
    return largest


@pytest.mark.parametrize(("library", "name"), EACH)
def test_the_librarys_own_numbers_as_they_were_kept(library: str, name: str) -> None:
    compare(library, name, dict(np.load(conventions.FOLDER / f"{library}.npz")))


def interpreter(library: str) -> str:
    """One that has the library: this one, or one that the variable names."""
    module = MODULES[library]
    if importlib.util.find_spec(module) is not None:
        return sys.executable
    for python in filter(None, os.environ.get(INTERPRETERS, "").split(":")):
        code = f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"
        if subprocess.run([python, "-c", code], check=False).returncode == 0:
            return python
    pytest.skip(f"{module} is not installed, nor in an interpreter of {INTERPRETERS}; its numbers are kept")


@pytest.mark.slow
@pytest.mark.parametrize("library", MODULES)
def test_the_library_itself(library: str, tmp_path: Path) -> None:
    made = tmp_path / "made.npz"
    command = [interpreter(library), "-m", "tests.data.conventions", library, str(made)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    wanted = dict(np.load(made))
    for name in conventions.CASES[library]:
        print(library, name, compare(library, name, wanted))

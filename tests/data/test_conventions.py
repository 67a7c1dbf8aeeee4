"""Scaling and cutting as torchvision, Keras and OpenCV do it: at most one step of 255 beside them."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data import conventions
from trtconv.data.preprocess import prepare

MODULES = {"torchvision": "torchvision", "keras": "keras", "opencv": "cv2"}
EACH = [(library, name) for library, cases in conventions.CASES.items() for name in cases]


def compare(library: str, name: str, wanted: dict[str, np.ndarray]) -> None:
    for which, pixels in conventions.PICTURES.items():
        chain = prepare(conventions.CASES[library][name])
        assert chain is not None
        for form in (pixels(), Image.fromarray(pixels())):
            form_of: Any = chain.form(pixels().shape, np.dtype(np.uint8))
            found, want = chain(form), wanted[f"{name}, {which}"]
            assert found.shape == want.shape == form_of.shape
            assert np.abs(found.astype(np.float64) - want).max() <= 1


@pytest.mark.parametrize(("library", "name"), EACH)
def test_the_librarys_own_numbers_as_they_were_kept(library: str, name: str) -> None:
    compare(library, name, dict(np.load(conventions.FOLDER / f"{library}.npz")))


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name"), EACH)
def test_the_library_itself(library: str, name: str) -> None:
    if importlib.util.find_spec(MODULES[library]) is None:
        pytest.skip(f"{MODULES[library]} is not installed; its numbers are kept in {conventions.FOLDER.name}/")
    wanted = {
        f"{name}, {which}": conventions.LIBRARIES[library](name, pixels())
        for which, pixels in conventions.PICTURES.items()
    }
    compare(library, name, wanted)

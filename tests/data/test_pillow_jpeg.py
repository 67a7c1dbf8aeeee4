"""JPEG files through the decoder that lays its line where that is fast: the same pixels, the same errors."""

from __future__ import annotations

import ctypes
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trtconv.adapters import pillow_jpeg
from trtconv.core.errors import UsageError
from trtconv.data import images


def drawn(height: int, width: int) -> Image.Image:
    small = np.random.default_rng(width).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(small).resize((width, height))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}], ids=str)
def test_pixels_are_pillows(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    for width in (1, 31, 32, 33, 250, 504):
        path = tmp_path / f"{width}.jpg"
        drawn(19, width).convert(mode).save(path, "JPEG", **options)
        with Image.open(path) as plain:
            assert np.array_equal(images.decode(path), np.asarray(plain.convert("RGB")))


def test_a_program_that_uses_pillow_itself_notices_nothing(tmp_path: Path) -> None:
    drawn(19, 33).save(tmp_path / "a.jpg")
    images.decode(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as plain:
        assert plain.tile[0][0] == "jpeg"


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    drawn(200, 300).save(tmp_path / "a.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:3000])
    with pytest.raises(UsageError, match=r"half\.jpg: a damaged image"):
        images.decode(tmp_path / "half.jpg")


@pytest.mark.parametrize("holes", [0, 1000, 20_000])
def test_the_next_memory_of_a_size_begins_where_lines_are_fast(holes: int) -> None:
    library = ctypes.CDLL(None)
    library.calloc.restype, library.free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
    sizes, held, places, without = random.Random(1), [], [], []
    between = [bytearray(sizes.randrange(200, 30_000)) for _ in range(2 * holes)][::2]
    for _ in range(400):
        held.append(bytearray(sizes.randrange(600, 60_000)))
        if len(held) > 12:
            held.pop(sizes.randrange(12))
        size = 4 * sizes.randrange(300, 5000)
        plain = library.calloc(1, size)
        library.free(plain)
        with pillow_jpeg.aside(size):
            address = library.calloc(1, size)
        library.free(address)
        places.append(address % 32 == 16)
        without.append(plain % 32 == 16)
    assert 0.2 < np.mean(without) < 0.8  # else there is nothing to show
    assert np.mean(places) > 0.97
    assert len(between) == holes  # they are held until here


def test_the_benchmark_tells_both_sides() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "pictures.py"
    command = [sys.executable, script, "--width", "96", "--height", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^(\S.*?)  +([\d.]+) ", done.stdout, re.MULTILINE))
    assert {"Pillow alone", "trtconv"} <= rows.keys()
    ratio = re.search(r"trtconv / Pillow alone: ([\d.]+)", done.stdout)
    assert ratio is not None
    assert float(ratio[1]) == pytest.approx(float(rows["trtconv"]) / float(rows["Pillow alone"]), abs=0.05)

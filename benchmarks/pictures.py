#!/usr/bin/env python3
"""What a photograph costs to decode: as trtconv does it, beside Pillow alone, with many things before it in memory.

    python benchmarks/pictures.py [--width 500] [--height 375]

How long Pillow takes for the same photograph depends on where its memory comes to lie; so both decode in turns with
other things in memory each time. Milliseconds of processor time, of one thread.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from trtconv.core import memory
from trtconv.data import images

PLACES, RUNS = 40, 15


def main() -> None:
    """Both in turns; the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=375)
    options = parser.parse_args()
    memory.keep()
    with tempfile.TemporaryDirectory() as folder:
        path = photograph(Path(folder) / "photograph.jpg", options.height, options.width)
        canvas = images.Canvas()
        ways: dict[str, Callable[[], object]] = {
            "Pillow alone": lambda: plain(path),
            "trtconv": lambda: images.picture(path),
            "trtconv, to memory that is there": lambda: images.picture(path, canvas=canvas),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        worker = threading.Thread(target=lambda: measure(ways, found))  # as in a process that decodes
        worker.start()
        worker.join()
    print(f"{'ms':34} {'median':>8} {'best':>8} {'worst':>8}")
    for name, times in found.items():
        print(f"{name:34} {median(times):8.3f} {min(times):8.3f} {max(times):8.3f}")
    base, ours, _ = map(median, found.values())
    print(f"trtconv / Pillow alone: {ours / base:.3f}; worst: {max(found['trtconv']) / max(found['Pillow alone']):.3f}")


def photograph(path: Path, height: int, width: int) -> Path:
    """Smooth patches of random colors."""
    small = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(small).resize((width, height)).save(path, quality=90)
    return path


def plain(path: Path) -> object:
    """As everybody does it."""
    with Image.open(path) as image:
        image.load()
        return image


def measure(ways: dict[str, Callable[[], object]], found: dict[str, list[float]]) -> None:
    """Medians of some runs each, with something else in memory each time."""
    sizes, held = random.Random(0), []
    for _ in range(PLACES):
        held.append(bytearray(sizes.randrange(600, 60_000)))
        if len(held) > 12:
            held.pop(sizes.randrange(12))
        for name, way in ways.items():
            found[name].append(median(seconds(way) for _ in range(RUNS)) * 1e3)


def seconds(way: Callable[[], object]) -> float:
    """Of this thread's processor time."""
    begin = time.thread_time()
    way()
    return time.thread_time() - begin


if __name__ == "__main__":
    main()

"""What torchvision, Keras and OpenCV make of a photograph and of noise: by the libraries themselves, kept as files.

    python -m tests.data.conventions torchvision [FILE]    # or keras, opencv: where that library is installed

writes tests/data/conventions/LIBRARY.npz, or FILE. Versions used: torchvision 0.29.1 (Pillow 13.0), Keras 3.15.1 on
TensorFlow 2.21, opencv-python-headless 5.0.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).with_suffix("")
Row = Mapping[str, Mapping[str, Any]]


def photograph(height: int = 53, width: int = 80) -> np.ndarray:
    """Waves, uint8 [height, width, 3]: sizes whose scaled sides are no whole numbers."""
    down, across = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(across / 3), 127 + 100 * np.cos(down / 2), 127 + 60 * np.sin((down + across) / 4)]
    return np.stack(waves, axis=2).astype(np.uint8)


def turned() -> np.ndarray:
    return np.ascontiguousarray(photograph().transpose(1, 0, 2))


def noise() -> np.ndarray:
    """Every step of rounding shows; the size is one where OpenCV's letterbox is another than in double precision."""
    return np.random.default_rng(0).integers(0, 256, (51, 81, 3)).astype(np.uint8)


SHORTER = {"size": [32, 32], "fit": "shorter"}
CASES: Mapping[str, Mapping[str, list[Row]]] = {
    "torchvision": {
        "stretch": [{"resize": {"size": [25, 35]}}],
        "enlarge": [{"resize": {"size": [70, 100]}}],
        "shorter": [{"resize": SHORTER}],
        "shorter and crop": [{"resize": SHORTER}, {"crop": {"size": [27, 29]}}],
        "crop": [{"crop": {"size": [50, 51]}}],
        "no antialias": [{"resize": {"size": [25, 35], "antialias": False}}],
    },
    "keras": {
        "stretch": [{"resize": {"size": [25, 35], "like": "keras"}}],
        "enlarge": [{"resize": {"size": [70, 100], "like": "keras"}}],
        "antialias": [{"resize": {"size": [25, 35], "like": "keras", "antialias": True}}],
        "aspect": [{"resize": {"size": [25, 30], "like": "keras", "fit": "crop"}}],
        "crop": [{"crop": {"size": [50, 51], "like": "keras"}}],
        "letterbox": [{"letterbox": {"size": [32, 30], "like": "keras", "fill": 9}}],
    },
    "opencv": {
        "stretch": [{"resize": {"size": [25, 35], "like": "opencv"}}],
        "enlarge": [{"resize": {"size": [70, 100], "like": "opencv"}}],
        "shorter and crop": [{"resize": {**SHORTER, "like": "opencv"}}, {"crop": {"size": [32, 32], "like": "opencv"}}],
        "letterbox": [{"letterbox": {"size": [32, 30], "like": "opencv", "fill": 9}}],
    },
}
PICTURES: Mapping[str, Callable[[], np.ndarray]] = {"across": photograph, "upright": turned, "noise": noise}


def by_torchvision(name: str, pixels: np.ndarray) -> np.ndarray:
    import torch
    from PIL import Image
    from torchvision.transforms import CenterCrop, Compose, Resize
    from torchvision.transforms.v2 import functional

    if name == "no antialias":
        planes = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return functional.resize(planes, [25, 35], antialias=False).numpy().transpose(1, 2, 0)
    steps = {
        "stretch": Resize((25, 35)),
        "enlarge": Resize((70, 100)),
        "shorter": Resize(32),
        "shorter and crop": Compose([Resize(32), CenterCrop((27, 29))]),
        "crop": CenterCrop((50, 51)),
    }
    return np.asarray(steps[name](Image.fromarray(pixels)))


def by_keras(name: str, pixels: np.ndarray) -> np.ndarray:
    from keras import layers

    steps = {
        "stretch": layers.Resizing(25, 35),
        "enlarge": layers.Resizing(70, 100),
        "antialias": layers.Resizing(25, 35, antialias=True),
        "aspect": layers.Resizing(25, 30, crop_to_aspect_ratio=True),
        "crop": layers.CenterCrop(50, 51),
        "letterbox": layers.Resizing(32, 30, pad_to_aspect_ratio=True, fill_value=9.0),
    }
    return np.asarray(steps[name](pixels[None].astype(np.float32)))[0]


def by_opencv(name: str, pixels: np.ndarray) -> np.ndarray:
    import cv2

    if name in ("stretch", "enlarge"):
        return cv2.resize(pixels, (35, 25) if name == "stretch" else (100, 70), interpolation=cv2.INTER_LINEAR)
    if name == "shorter and crop":
        return cv2.dnn.blobFromImage(pixels, 1.0, (32, 32), crop=True)[0].transpose(1, 2, 0)
    how = cv2.dnn.Image2BlobParams()
    how.size, how.paddingmode, how.borderValue = (30, 32), cv2.dnn.DNN_PMODE_LETTERBOX, (9, 9, 9, 9)
    return cv2.dnn.blobFromImageWithParams(pixels, how)[0].transpose(1, 2, 0)


LIBRARIES = {"torchvision": by_torchvision, "keras": by_keras, "opencv": by_opencv}


def made(library: str) -> dict[str, np.ndarray]:
    """Every case on every picture, by the library itself."""
    return {
        f"{name}, {which}": LIBRARIES[library](name, PICTURES[which]()) for name in CASES[library] for which in PICTURES
    }


if __name__ == "__main__":
    library, *file = sys.argv[1:]
    np.savez_compressed(file[0] if file else FOLDER / f"{library}.npz", **made(library))

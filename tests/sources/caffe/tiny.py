"""The smallest Caffe network, which has no weights, for the conformance test."""

from __future__ import annotations

from pathlib import Path

from scripts import caffe_networks

TEXT = caffe_networks.head("tiny", 1, 2, 6, 6) + caffe_networks.pool("pool", "data", 3, 2, "AVE")


def caffe(folder: Path) -> Path:
    (folder / "tiny.prototxt").write_text(TEXT)
    return folder / "tiny.prototxt"


MODELS = {"caffe": caffe}

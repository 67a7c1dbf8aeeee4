"""What a step warned of when it ran is said again when its outcome is taken from the cache, or stands already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import parser

NET = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
g (float[n, 4] x) => (float[n, 4] y) { y = mine.Gear(x) }"""
SAYS = "operator Gear is not of ONNX: TensorRT needs a plugin for it"


def test_warnings_of_a_cached_step(trtconv: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TRTCONV_CACHE", str(tmp_path / "cache"))
    onnx.save(parser.parse_model(NET), tmp_path / "net.onnx")
    (tmp_path / "j.yaml").write_text("version: 1\nsource: {path: net.onnx}\nconvert: {support: false}\n")
    first = trtconv("convert", "net.onnx", "-o", "a.onnx")
    again = trtconv("convert", "net.onnx", "-o", "b.onnx")
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "from cache" in again.stderr + again.stdout
    assert SAYS in first.stderr
    assert SAYS in again.stderr
    for expected in ("done", "up to date"):
        told = trtconv("convert", "j.yaml")
        assert told.returncode == 0, told.stderr
        assert SAYS in told.stderr
        assert expected in told.stdout + told.stderr or expected == "done"

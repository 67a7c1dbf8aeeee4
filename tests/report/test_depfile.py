"""The rule that Make reads back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trtconv.report.depfile import depfile


def test_make_reads_names_with_its_own_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    odd = [
        tmp_path / "a b.npz",
        tmp_path / "cost$.onnx",
        tmp_path / "c#.onnx",
        tmp_path / "d[1].npz",
        folder / "one.npy",
    ]
    for file in odd:
        file.touch()
    text = depfile([tmp_path / "out.engine"], [*odd[:4], folder, tmp_path / "data/*.npy", tmp_path / "c#.onnx"])
    (tmp_path / "Makefile").write_text(f"{text}\nout.engine:\n\t@printf '%s\\n' '$(subst $$,S,$^)'\n")
    done = subprocess.run(["make", "-s", "out.engine"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "a b.npz costS.onnx c#.onnx d[1].npz data/one.npy"
    (tmp_path / "c#.onnx").unlink()
    assert subprocess.run(["make", "-s", "out.engine"], capture_output=True, check=False).returncode == 0

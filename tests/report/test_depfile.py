"""The rule that Make reads back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trtconv.core.errors import UsageError
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


@pytest.mark.parametrize("folder", ["lr=0.1", "a=b=c", "=", "a:b=c d", "$(x)=1"])
def test_folders_as_sweeps_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    here = tmp_path / folder
    here.mkdir()
    (here / "m.onnx").touch()
    (here / "job.yaml").touch()
    text = depfile([here / "job.engine"], [here / "m.onnx", here / "job.yaml"])
    (tmp_path / "job.d").write_text(text)
    (tmp_path / "Makefile").write_text("all:\n\t@:\ninclude job.d\n")
    base = subprocess.run(["make", "-pn"], capture_output=True, text=True, check=True).stdout
    rules = [line for line in base.splitlines() if line.partition(": ")[0].endswith("job.engine")]
    assert len(rules) == 1, base
    assert rules[0].count("m.onnx") == rules[0].count("job.yaml") == 1


@pytest.mark.parametrize("sign", [";", "%", "|", "\t", "\n"])
def test_what_make_cannot_read_is_refused_by_name(tmp_path: Path, sign: str) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(UsageError, match="Make cannot read the name"):
        depfile([tmp_path / f"a{sign}b.engine"], [tmp_path / "m.onnx"])

"""infer and bench through the command line: standard input, arrival rates, files that are left out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engines.models import conv_net, images
from trtconv.engines.run.runner import open_onnx


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return conv_net(tmp_path / "net.onnx")


def trtconv(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "trtconv", *map(str, arguments)], input=given, capture_output=True, check=False
    )


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_samples_from_standard_input(model: Path, tmp_path: Path, form: str) -> None:
    x, content = images(5), io.BytesIO()
    np.save(content, x) if form == "npy" else np.savez(content, x=x)
    done = trtconv("infer", model, "--data", "-", "-o", tmp_path / "y.npy", given=content.getvalue())
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "y.npy") == pytest.approx(open_onnx(model).run({"x": x})["y"], abs=1e-5)


def test_standard_input_that_holds_no_samples(model: Path, tmp_path: Path) -> None:
    done = trtconv("infer", model, "--data", "-", "-o", tmp_path / "y.npy", given=b"hello")
    assert done.returncode == 2
    assert b"standard input holds neither a .npy nor a .npz" in done.stderr


@pytest.mark.parametrize("strict", [False, True])
def test_bad_files_are_left_out_or_end_it(model: Path, tmp_path: Path, strict: bool) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for number, sample in enumerate(images(6)):
        np.save(folder / f"{number}.npy", sample)
    (folder / "2.npy").write_bytes((folder / "2.npy").read_bytes()[:200])
    broken = np.load(folder / "4.npy")
    broken[0] = np.nan
    np.save(folder / "4.npy", broken)
    done = trtconv("infer", model, "--data", folder, "-o", tmp_path / "y.jsonl", "--json", *["--strict"] * strict)
    if strict:
        assert done.returncode == 2
        assert b"2.npy" in done.stderr or b"2.npy" in done.stdout
        assert not (tmp_path / "y.jsonl").exists()
        return
    assert done.returncode == 0, done.stderr
    skipped = json.loads(done.stdout)["infer"]["skipped"]
    assert ["2.npy" in skipped[0], "4.npy" in skipped[1], len(skipped)] == [True, True, 2]
    lines = [json.loads(line) for line in (tmp_path / "y.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["0.npy", "1.npy", "3.npy", "5.npy"]
    expected = open_onnx(model).run({"x": images(6)[[0, 1, 3, 5]]})["y"]
    assert np.array([line["y"] for line in lines]) == pytest.approx(expected, abs=1e-5)


def test_requests_that_arrive_at_a_rate(model: Path) -> None:
    """Half of what an idle machine answers in a closed loop: throughput is the rate, not what could be."""
    done = trtconv("bench", model, "--batch", "1", "--semantics", "app", "--rate", "40", "--duration", "2s", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["bench"]
    assert result["conditions"]["rate"] == 40
    assert 15 < result["measurements"][0]["throughput"] < 80
    refused = trtconv("bench", model, "--rate", "40", "--semantics", "trtexec10")
    assert refused.returncode == 2
    assert b"a rate of arrivals belongs to the semantics app" in refused.stderr

"""trtconv refit from the command line: real engines of TensorRT-RTX, built again with proof."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import INT8_CONVOLUTIONS, Cli, without_gpu
from tests.networks import images, residual_cnn

pytestmark = pytest.mark.rtx


@pytest.fixture
def folder(tmp_path: Path, trtconv: Cli) -> Path:
    """An FP16 engine of a network, that network trained twice, and a deeper one."""
    for seed, name in enumerate(("first", "second")):
        onnx.save(residual_cnn(seed), tmp_path / f"{name}.onnx")
    onnx.save(residual_cnn(0, blocks=3), tmp_path / "deeper.onnx")
    np.savez(tmp_path / "x.npz", image=images(16))
    options = ("--precision", "fp16", "--backend", "rtx", "--shapes", "image=1x4x9", "--workspace", "64MiB")
    assert trtconv("build", "first.onnx", "-o", "first.engine", *options).returncode == 0
    return tmp_path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.rtx(since="1.7", why="writes weights at the end of a plan")
def test_a_model_trained_again(trtconv: Cli, folder: Path) -> None:
    """Typed ONNX and its source lead to the same engine: the one that a build of it makes."""
    before = digest(folder / "first.engine")
    assert trtconv("lower", "second.onnx", "-o", "second.typed.onnx", "--precision", "fp16").returncode == 0
    for model, out in (("second.typed.onnx", "a.engine"), ("second.onnx", "b.engine")):
        done = trtconv("refit", "first.engine", model, "-o", out)
        assert done.returncode == 0, done.stderr
        for said in (
            f"{out} was built again by TensorRT-RTX",
            "no refit: the engine was built without build.refit",
            "the same graph: 22 nodes",
            "14 weights with the same names, types and shapes",
            "bytes before the weights are the same",
        ):
            assert said in done.stdout
        assert ("not verified: " in done.stdout) is bool(without_gpu())
    assert digest(folder / "a.engine") == digest(folder / "b.engine") != before == digest(folder / "first.engine")
    options = ("--precision", "fp16", "--backend", "rtx", "--shapes", "image=1x4x9", "--workspace", "64MiB")
    assert trtconv("build", "second.onnx", "-o", "built.engine", *options).returncode == 0
    assert digest(folder / "built.engine") == digest(folder / "a.engine")
    facts = json.loads((folder / "a.engine.json").read_text())
    assert facts["model"]["file"] == "second.typed.onnx"
    assert facts["provenance"]["refit"] == {"engine": "first.engine", "sha256": before, "how": "rebuilt"}
    assert [one["profile"] for one in facts["inputs"]] == [
        {"min": [1, 8, 8, 1], "opt": [4, 8, 8, 1], "max": [9, 8, 8, 1]}
    ]


def test_the_same_weights_give_the_same_bytes(trtconv: Cli, folder: Path) -> None:
    done = trtconv("refit", "first.engine", "first.onnx", "-o", "again.engine", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["refit"]
    assert (result["how"], result["changed"], result["weights"]) == ("rebuilt", 0, 14)
    assert digest(folder / "again.engine") == digest(folder / "first.engine")
    again = trtconv("refit", "again.engine", "second.onnx", "-o", "third.engine")  # an engine of refit is one like any
    assert again.returncode == 0, again.stderr


def test_another_network(trtconv: Cli, folder: Path) -> None:
    done = trtconv("refit", "first.engine", "deeper.onnx", "-o", "new.engine")
    assert done.returncode == 3
    assert "is not the network of first.engine, trained again" in done.stderr
    assert re.search(r"nodes.*weights.* differ", done.stderr)  # what the engine was built from is not there any more
    assert not (folder / "new.engine").exists()


def test_what_differs_is_named_where_the_old_model_is(trtconv: Cli, folder: Path) -> None:
    for name in ("first", "deeper"):
        assert trtconv("lower", f"{name}.onnx", "-o", f"{name}.typed.onnx", "--precision", "fp16").returncode == 0
    assert trtconv("build", "first.typed.onnx", "-o", "typed.engine", "--backend", "rtx").returncode == 0
    done = trtconv("refit", "typed.engine", "deeper.typed.onnx", "-o", "new.engine")
    assert done.returncode == 3
    assert "nodes: block2_first_conv is new" in done.stderr
    assert "weights: block2_first_w is new" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("first.engine", "second.onnx"), "refit needs -o FILE"),
        (("first.engine", "second.onnx", "-o", "first.engine"), "first.engine is the source, and"),
        (("first.engine", "second.onnx", "-o", "second.onnx"), "second.onnx is the source, and"),
        (("first.engine", "second.onnx", "-o", "x.npz", "--data", "x.npz"), "x.npz is the source, and"),
        (("second.onnx", "first.onnx", "-o", "new.engine"), "nothing says what second.onnx was built from"),
        (("gone.engine", "first.onnx", "-o", "new.engine"), "no such file or folder: gone.engine"),
        (("first.engine", "first.onnx", "-o", "n.engine", "--no-verify", "--data", "x.npz"), "--data is for verifying"),
    ],
)
def test_what_is_asked_wrongly(trtconv: Cli, folder: Path, arguments: tuple[str, ...], says: str) -> None:
    done = trtconv("refit", *arguments)
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert "next: " in done.stderr
    assert "started" not in done.stderr  # nothing was lowered for it


@INT8_CONVOLUTIONS
def test_int8_with_ranges_of_its_own(trtconv: Cli, folder: Path) -> None:
    """A job's engine: the new source is calibrated on the job's samples, as the old one was."""
    (folder / "job.yaml").write_text(
        "version: 1\nsource: {path: first.onnx}\nprecision: int8\ncalibrate: {data: {path: x.npz}}\n"
        "build: {backend: rtx}\n"
    )
    assert trtconv("run", "job.yaml").returncode == 0
    engine = folder / "build/job/job.int8.engine"
    done = trtconv("refit", engine, "second.onnx", "-o", "new.engine", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["refit"]
    assert result["changed"] > 14  # scales too
    assert result["changed"] <= result["weights"]

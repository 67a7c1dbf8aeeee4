"""check finds what run would refuse; both say it before anything runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli
from tests.small_jobs import job, one_op

INFER = "infer: {data: {path: x.npy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    one_op(tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.arange(8, dtype=np.float32).reshape(2, 4))
    np.save(tmp_path / "wide.npy", np.ones((2, 5), np.float32))
    np.save(tmp_path / "labels.npy", np.zeros(3, np.int64))
    (tmp_path / "empty.txt").write_text("\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{INFER}, preprocess: [{{resise: {{size: [2, 2]}}}}]}}}}", "unknown operation 'resise'"),
        (f"{INFER}, preprocess: [{{layout: {{to: rgb}}}}]}}}}", "expected to as one of nchw, nhwc"),
        (f"{INFER}}}, postprocess: [{{topk: {{}}}}]}}", "expected k as a positive whole number"),
        (f"{INFER}}}, postprocess: [{{argmax: {{labels: empty.txt}}}}]}}", "no labels in it"),
        (f"{INFER}}}, postprocess: [{{call: {{function: 'mine:f'}}}}]}}", "add --allow-code"),
        ("calibrate: {call: 'mine:f'}\nprecision: int8", "add --allow-code"),
        ("bench: {against: 'pytorch:mine:f'}", "add --allow-code"),
        ("bench: {against: tvm}", "expected onnxruntime, pytorch, pytorch-compiled or pytorch:module:function"),
        ("bench: {against: pytorch}", "pytorch runs the source itself, and"),
        ("bench: {rate: 5}", "belong to semantics: app"),
        ("bench: {}\ngates: [{measure: latency_p99, max: 1s, engine: int8}]", "there is no engine 'int8'"),
        ("bench: {}\ngates: [{measure: latency_p99, max: 1s, batch: 8}]", "batch 8 is not measured"),
        ("inputs: {x: {profile: {min: 1, opt: 4, max: 8}}}\nbench: {batch: 16}", "a batch of 16 is outside"),
        ("inputs: {x: {profile: {min: 2, opt: 4, max: 8}}}\nbench: {}", "a batch of 1 is outside"),
        ("inputs: {x: {profile: {min: [1, 4], opt: [2, 4], max: [8, 4]}}}\n" + INFER + "}, batch: 9}", "a batch of 9"),
        ("bench: {batch: [1, 64]}", "a batch of 64 is outside of what fp32 is built for: input 'x' takes 1 to 32"),
        ("infer: {data: {path: wide.npy}}", "infer.data: .*shape [2, 5] does not fit"),
        ("verify: {data: {path: x.npy, labels: labels.npy}}", "labels have shape [3], expected [2]"),
        ("verify: {data: {path: x.npy}, tolerance: {fp61: 0.1}}", "'fp61' is no precision"),
        ("verify: {data: {path: '*.txt'}}", "cannot read samples from this kind of file"),
    ],
)
def test_what_cannot_be_is_found_before_anything_runs(trtconv: Cli, folder: Path, text: str, says: str) -> None:
    job(folder / "job.yaml", f"{text}\n")
    done = trtconv("check", "job.yaml")
    assert done.returncode == 2, done.stdout
    for part in says.split(".*"):
        assert part in done.stderr
    assert not (folder / "build").exists()


def test_batches_that_fit_are_not_refused(trtconv: Cli, folder: Path) -> None:
    job(
        folder / "job.yaml",
        "inputs: {x: {profile: [{min: 1, opt: 1, max: 1}, {min: 64, opt: 64, max: 64}]}}\nbench: {batch: [1, 64]}\n",
    )
    assert trtconv("check", "job.yaml").returncode == 0
    one_op(folder / "model.onnx", dims=[64, 4])
    job(folder / "job.yaml", "bench: {batch: 64}\n")
    assert trtconv("check", "job.yaml").returncode == 0


def test_the_chain_of_a_first_sample(trtconv: Cli, folder: Path) -> None:
    one_op(folder / "model.onnx", dims=["batch", 3, 4, 4])
    Image.fromarray(np.full((8, 8, 3), 51, np.uint8)).save(folder / "a.png")
    rows = "[{resize: {size: [4, 4]}}, {layout: {to: nchw}}, {normalize: {scale: 0.00392156862745098}}]"
    job(folder / "job.yaml", f"infer: {{data: {{path: a.png, preprocess: {rows}}}}}\n")
    done = trtconv("check", "job.yaml")
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.split("infer: a.png\n")[1].splitlines()[2:]]
    assert table == [
        ["sample", "8x8x3", "uint8", "nhwc", "51", "to", "51"],
        ["resize", "4x4x3", "uint8", "nhwc", "51", "to", "51"],
        ["layout", "3x4x4", "uint8", "nchw", "51", "to", "51"],
        ["normalize", "3x4x4", "float32", "nchw", "0.2", "to", "0.2"],
    ]
    (sample,) = json.loads(trtconv("check", "job.yaml", "--json").stdout)["samples"]
    assert [row["shape"] for row in sample["rows"]] == [[8, 8, 3], [4, 4, 3], [3, 4, 4], [3, 4, 4]]


def test_a_wrong_job_is_told_to_machines_too(trtconv: Cli, folder: Path) -> None:
    job(folder / "a,b.yaml", "bench: {rate: 5}\ncalibrate: {}\n")
    done = trtconv("run", "a,b.yaml", "--junit", "made.xml", env={"GITHUB_ACTIONS": "true"})
    assert done.returncode == 2
    first, second = [line for line in done.stdout.splitlines() if line.startswith("::error")]
    assert first.startswith("::error file=a%2Cb.yaml,line=3,col=")
    assert second.startswith("::error file=a%2Cb.yaml,line=4,col=")
    (case,) = ElementTree.parse(folder / "made.xml").getroot()
    assert "belong to semantics: app" in (case.find("error").text or "")


def test_a_missed_lock_is_told_to_machines_too(trtconv: Cli, folder: Path) -> None:
    job(folder / "job.yaml", "")
    done = trtconv("run", "job.yaml", "--locked", "--junit", "made.xml", "--github")
    assert done.returncode == 2
    assert "::error file=job.yaml,title=job::" in done.stdout
    assert ElementTree.parse(folder / "made.xml").getroot().get("errors") == "1"


@pytest.mark.parametrize("option", ["--junit", "--depfile", "--lock"])
def test_places_that_cannot_be_are_found_first(trtconv: Cli, folder: Path, option: str) -> None:
    job(folder / "job.yaml", "")
    done = trtconv("run", "job.yaml", option, "x.npy/made")
    assert done.returncode == 2
    assert "x.npy is not a folder" in done.stderr
    assert not (folder / "build").exists()


@pytest.mark.rtx
def test_a_lock_elsewhere(trtconv: Cli, folder: Path) -> None:
    job(folder / "job.yaml", "")
    assert trtconv("run", "job.yaml", "--lock", "locks/here.yaml", "-q").returncode == 0
    assert not (folder / "job.lock.yaml").exists()
    assert trtconv("run", "job.yaml", "--lock", "locks/here.yaml", "--locked", "-q").returncode == 0
    one_op(folder / "model.onnx", "Neg")
    assert trtconv("run", "job.yaml", "--lock", "locks/here.yaml", "--locked", "-q").returncode == 2


def test_a_folder_that_cannot_be_written_is_said_first(folder: Path, trtconv: Cli) -> None:
    config = folder / "config"
    config.mkdir()
    one_op(config / "model.onnx")
    job(config / "job.yaml", "output: ../out\n")
    config.chmod(0o555)
    dropped = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
    try:
        done = subprocess.run(
            [*dropped, sys.executable, "-m", "trtconv", "check", "config/job.yaml"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        config.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "no lock will be written: config cannot be written to; --lock FILE" in done.stderr


def test_a_cache_limit_with_a_slip(trtconv: Cli, folder: Path) -> None:
    job(folder / "job.yaml", "")
    for command in ("check", "run"):
        done = trtconv(command, "job.yaml", env={"TRTCONV_CACHE_LIMIT": "10TB"})
        assert done.returncode == 2
        assert "TRTCONV_CACHE_LIMIT: expected a size such as" in done.stderr
    assert not (folder / "build").exists()


@pytest.mark.rtx
def test_two_jobs_of_one_name_are_told(trtconv: Cli, folder: Path) -> None:
    for name in ("a", "b"):
        job(folder / f"{name}.yaml", "name: same\noutput: out\n")
    assert "each replaces" not in trtconv("run", "a.yaml", "-q").stderr
    assert "each replaces" in trtconv("check", "b.yaml").stderr
    assert "b.yaml and a.yaml write files of the same names" in trtconv("run", "b.yaml", "-q").stderr
    (folder / "b.yaml").rename(folder / "c.yaml")
    assert "each replaces" not in trtconv("run", "c.yaml", "-q").stderr


def test_a_base_jobs_files_lie_beside_it(trtconv: Cli, folder: Path) -> None:
    base = folder / "common"
    base.mkdir()
    one_op(base / "model.onnx", dims=["batch", 2])
    np.save(base / "x.npy", np.ones((2, 2), np.float32))
    (base / "classes.txt").write_text("cat\ndog\n")
    rows = "[{argmax: {labels: classes.txt, output: y}}]"
    job(base / "base.yaml", f"infer: {{data: {{path: x.npy}}, postprocess: {rows}}}\n")
    (folder / "jobs").mkdir()
    (folder / "jobs/child.yaml").write_text("extends: ../common/base.yaml\n")
    assert trtconv("check", "jobs/child.yaml").returncode == 0


def test_variables_inside_braces(trtconv: Cli, folder: Path) -> None:
    (folder / "job.yaml").write_text("version: 1\nsource: {path: ${MODEL}}\n")
    done = trtconv("check", "job.yaml", env={"MODEL": "model.onnx"})
    assert done.returncode == 2
    assert 'in quotes: "${MODEL}"' in done.stderr
    (folder / "job.yaml").write_text('version: 1\nsource: {path: "${MODEL}"}\n')
    assert trtconv("check", "job.yaml", env={"MODEL": "model.onnx"}).returncode == 0


def test_labels_are_named_from_the_current_folder(trtconv: Cli, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "x.npy").rename(folder / "data/x.npy")
    np.save(folder / "labels.npy", np.array([3, 3]))
    run = ("infer", "model.onnx", "--data", "data/x.npy", "-o", "y.npy", "--labels", "labels.npy")
    done = trtconv(*run)
    assert done.returncode == 0, done.stderr
    assert "100.00 % right" in done.stdout
    (folder / "labels.npy").rename(folder / "data/labels.npy")
    assert trtconv(*run).returncode == 2


def test_data_that_may_not_be_read(folder: Path) -> None:
    job(folder / "job.yaml", f"{INFER}}}}}\n")
    (folder / "x.npy").chmod(0)
    dropped = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    command = [*dropped, sys.executable, "-m", "trtconv", "check", "job.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    assert "allow reading it: chmod" in done.stderr


@pytest.mark.parametrize("bound", ["--tolerance", "--max-accuracy-drop", "--min-snr", "--min-cosine"])
def test_a_bound_that_is_no_number_bounds_nothing(trtconv: Cli, folder: Path, bound: str) -> None:
    done = trtconv("verify", "model.onnx", "model.onnx", "--data", "x.npy", bound, "nan")
    assert done.returncode == 2
    assert "is no ordinary number" in done.stderr

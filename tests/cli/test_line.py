"""The whole line through the front door, on a network trained on real digits."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import INT8_CONVOLUTIONS

pytestmark = [pytest.mark.tf, INT8_CONVOLUTIONS]

JOB = """\
version: 1
output: out
source: {{path: {data}/saved_model}}
inputs:
  image: {{shape: [batch, 8, 8, 1], profile: {{min: 1, opt: 32, max: 64}}}}
precision: [fp32, fp16, int8]
calibrate: {{data: {{path: {data}/calibration.npz}}}}
build: {{workspace: 1GiB}}
verify: {{data: {{path: {data}/heldout.npz, labels: labels}}, max_accuracy_drop: 1.0}}
infer: {{data: {{path: {data}/heldout.npz, labels: labels}}, format: csv, postprocess: [argmax: {{}}]}}
bench: {{batch: [1, 8], duration: 100ms}}
"""


@pytest.fixture(scope="module")
def module_cli():
    """Run ``python -m trtconv ARGS`` in a folder."""

    def call(*args, cwd):
        command = [sys.executable, "-m", "trtconv", *map(str, args)]
        env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "100", "TRTCONV_CACHE": "off"}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)

    return call


@pytest.fixture(scope="module")
def ran(digits_data, tmp_path_factory, module_cli):
    """The job run once: (folder, process, JSON document)."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "job.yaml").write_text(JOB.format(data=digits_data))
    done = module_cli("run", "job.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done, json.loads(done.stdout)


def results(document, stage):
    return {s["precision"]: s["result"] for s in document["steps"] if s["stage"] == stage}


def test_every_step_is_done_once(ran):
    _, done, document = ran
    names = [s["name"] for s in document["steps"]]
    per_precision = [
        f"{s}[{p}]" for p in ("fp32", "fp16", "int8") for s in ("lower", "build", "verify", "infer", "bench")
    ]
    assert names == ["freeze", "convert", "calibrate", "reference", *per_precision]
    assert {s["status"] for s in document["steps"]} == {"done"}
    assert all(s["peak_memory"] > 1 << 20 for s in document["steps"])
    assert "build[int8]: started" in done.stderr


def test_accuracy_holds(ran):
    _, _, document = ran
    for precision, verify in results(document, "verify").items():
        verdicts = {v["label"]: v for v in verify["verdicts"]}
        assert verify["samples"] == 360
        assert verify["reference_label"].startswith("TensorFlow 2.")
        assert verify["reference_top1"] >= 97
        assert verdicts["FP32 ONNX"]["agreement"] == 100
        assert verdicts["FP32 ONNX"]["outputs"][0]["max_rel"] < 1e-5
        typed = verdicts["typed ONNX"]
        if precision == "int8":
            assert verify["reference_top1"] - typed["top1"] <= 1
            assert 20 < typed["outputs"][0]["snr_db"] < 80  # quantized, and not broken
        else:
            assert typed["agreement"] == 100


def test_top1_is_what_numpy_counts(ran, digits_data):
    folder, _, document = ran
    reference = np.load(folder / "out/job.reference.npz")
    (logits,) = (reference[name] for name in reference.files)
    labels = np.load(digits_data / "heldout.npz")["labels"]
    counted = 100 * np.mean(logits.argmax(axis=1) == labels)
    assert results(document, "verify")["fp32"]["reference_top1"] == pytest.approx(counted)


def test_typed_models_hold_the_types_they_promise(ran):
    _, _, document = ran
    lowered = results(document, "lower")
    assert set(lowered["fp32"]["weighted"]) == {"float"}
    assert set(lowered["fp16"]["weighted"]) == {"float16"}
    assert lowered["int8"]["weighted"]["int8"] >= 3
    assert lowered["int8"]["qdq_pairs"] >= 3


def test_engines_are_plain_plans_with_complete_sidecars(ran):
    folder, _, document = ran
    weights = {}
    for precision, build in results(document, "build").items():
        engine = folder / f"out/job.{precision}.engine"
        data = engine.read_bytes()
        assert data[:4] == b"vtrt"
        assert int.from_bytes(data[16:24], "little") == len(data) == build["size"]
        sidecar = json.loads((folder / f"out/job.{precision}.engine.json").read_text())
        assert sidecar["flavor"] == "rtx"
        assert ".".join(str(b) for b in data[24:28]) == build["version"] == sidecar["version"]
        digests = sidecar["provenance"]["digests"]
        for what, name in (("frozen", "job.pb"), ("onnx", "job.onnx"), ("typed", f"job.{precision}.onnx")):
            assert digests[what] == hashlib.sha256((folder / "out" / name).read_bytes()).hexdigest()
        assert digests["typed"] == sidecar["model"]["sha256"]
        assert sidecar["engine"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert "source" in digests
        assert sidecar["precision"]["name"] == precision
        assert [i["name"] for i in sidecar["inputs"]] == ["image"]
        assert sidecar["profiles"][0]["image"] == {"min": [1, 8, 8, 1], "opt": [32, 8, 8, 1], "max": [64, 8, 8, 1]}
        assert sidecar["workspace"] == sidecar["provenance"]["job"]["build"]["workspace"] == 1 << 30
        weights[precision] = int.from_bytes(data[56:64], "little")
    assert weights["int8"] < weights["fp16"] < weights["fp32"]


def test_infer_without_a_gpu_says_what_ran_and_is_right(ran, digits_data):
    folder, _, document = ran
    infer = results(document, "infer")["int8"]
    assert infer["samples"] == 360
    if infer["fell_back"]:
        assert "ONNX Runtime" in infer["runner"]
    with (folder / "out/job.int8.results.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    labels = np.load(digits_data / "heldout.npz")["labels"]
    column = next(name for name in rows[0] if name.endswith("_class"))
    share = 100 * np.mean([int(row[column]) for row in rows] == labels)
    assert infer["accuracy"] == pytest.approx(share)


def test_bench_counts_queries(ran):
    _, _, document = ran
    for result in results(document, "bench").values():
        assert [m["batch"] for m in result["measurements"]] == [1, 8]
        for m in result["measurements"]:
            assert m["queries"] >= 10
            assert (
                0 < m["latency_ms"]["min"] <= m["latency_ms"]["p50"] <= m["latency_ms"]["p99"] <= m["latency_ms"]["max"]
            )
            assert m["throughput"] > 0


def test_again_does_no_work_and_says_so(ran, module_cli):
    folder, _, first = ran
    stamps = {p: p.stat().st_mtime_ns for p in (folder / "out").iterdir() if p.is_file()}
    done = module_cli("run", "job.yaml", cwd=folder)
    assert done.returncode == 0
    assert done.stderr.count(": up to date") == len(first["steps"])
    assert done.stdout.splitlines()[-1].startswith("int8")
    assert stamps == {p: p.stat().st_mtime_ns for p in (folder / "out").iterdir() if p.is_file()}
    check = module_cli("check", "job.yaml", cwd=folder)
    assert check.stdout.count("up to date") == len(first["steps"])


def test_a_second_build_gives_identical_bytes(ran, module_cli):
    folder, _, _ = ran
    before = {p.name: p.read_bytes() for p in (folder / "out").glob("*.engine")}
    done = module_cli("run", "job.yaml", "--set", "output=again", cwd=folder)
    assert done.returncode == 0, done.stderr
    for name, data in before.items():
        assert (folder / "again" / name).read_bytes() == data
    assert len(before) == 3


def test_one_changed_option_runs_only_what_depends_on_it(ran, module_cli):
    folder, _, _ = ran
    done = module_cli("check", "job.yaml", "--set", "build.workspace=512MiB", "--json", cwd=folder)
    running = {s["name"] for s in json.loads(done.stdout)["steps"] if s["will_run"]}
    expected = {f"{s}[{p}]" for p in ("fp32", "fp16", "int8") for s in ("build", "verify", "infer", "bench")}
    assert running == expected


def test_stages_on_models_make_the_same_files_as_the_job(ran, digits_data, module_cli, tmp_path):
    folder, _, _ = ran
    out = folder / "out"

    def made(*args):
        done = module_cli(*args, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return (tmp_path / args[args.index("-o") + 1]).read_bytes()

    shape = ("--input", "image:batch,8,8,1")
    assert made("freeze", digits_data / "saved_model", "-o", "f.pb", *shape) == (out / "job.pb").read_bytes()
    assert made("convert", digits_data / "saved_model", "-o", "m.onnx", *shape) == (out / "job.onnx").read_bytes()
    assert made("convert", "f.pb", "-o", "n.onnx") == (out / "job.onnx").read_bytes()
    assert (
        made("calibrate", "m.onnx", "-o", "c.cache", "--data", digits_data / "calibration.npz")
        == (out / "job.cache").read_bytes()
    )
    int8 = made("lower", "m.onnx", "-o", "m.int8.onnx", "--precision", "int8", "--cache", "c.cache")
    assert int8 == (out / "job.int8.onnx").read_bytes()
    engine = made("build", "m.int8.onnx", "-o", "m.engine", "--shapes", "image=1x32x64", "--workspace", "1GiB")
    assert engine == (out / "job.int8.engine").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "c.cache",
        "c.cache.json",
        "f.pb",
        "f.pb.check.npz",
        "f.pb.json",
        "m.engine",
        "m.engine.json",
        "m.int8.onnx",
        "m.onnx",
        "n.onnx",
    ]
    made("build", "m.int8.onnx", "-o", "two.engine", "--shapes", "image=1x1x1", "--shapes", "image=2x32x64")
    profiles = json.loads((tmp_path / "two.engine.json").read_text())["profiles"]
    assert [[profile["image"][bound][0] for bound in ("min", "opt", "max")] for profile in profiles] == [
        [1, 1, 1],
        [2, 32, 64],
    ]


def test_verify_infer_and_bench_on_models(ran, digits_data, module_cli, tmp_path):
    out = ran[0] / "out"
    heldout = digits_data / "heldout.npz"
    args = ("verify", out / "job.onnx", out / "job.int8.onnx", "--data", heldout, "--labels", "labels")
    assert module_cli(*args, "--max-accuracy-drop", 1, cwd=tmp_path).returncode == 0
    missed = module_cli(*args, "--max-rel", 1e-6, cwd=tmp_path)
    assert missed.returncode == 6
    assert "allowed 1e-06" in missed.stderr
    done = module_cli("infer", out / "job.fp16.onnx", "--data", heldout, "-o", "r.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    reference = np.load(out / "job.reference.npz")
    made = np.load(tmp_path / "r.npz")
    for name in reference.files:
        np.testing.assert_allclose(made[name], reference[name], atol=0.02 * np.abs(reference[name]).max())
    done = module_cli("bench", out / "job.fp32.onnx", "--batch", "4", "--duration", "50ms", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bench"]["measurements"][0]["batch"] == 4
    seen = module_cli("inspect", out / "job.int8.engine", cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    assert "TensorRT-RTX" in seen.stdout
    assert "image" in seen.stdout


def test_a_missed_gate_is_exit_6_every_time(ran, module_cli):
    folder, _, _ = ran
    for _ in range(2):
        done = module_cli("verify", "job.yaml", "--set", "verify.tolerance={fp16: 1e-7}", "--quiet", cwd=folder)
        assert done.returncode == 6
        assert "verify[fp16]: typed ONNX: output" in done.stderr
        assert "allowed 1e-07" in done.stderr
        assert "int8" in done.stdout.splitlines()[-1]  # the table comes first, whole


def test_asking_for_the_engine_without_a_gpu_is_exit_5(ran, module_cli):
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU")
    folder, _, _ = ran
    for command in ("infer", "bench"):
        done = module_cli(command, "job.yaml", "--set", f"{command}.backend=rtx", cwd=folder)
        assert done.returncode == 5, done.stderr
        assert "next: " in done.stderr

"""trtexec's command lines: what becomes of each, and that the job written for it makes the same typed ONNX."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from scripts import caffe_networks
from tests.conftest import INT8_CONVOLUTIONS, without_gpu
from tests.networks import everything, images, model, node, residual_cnn, value
from trtconv.calibration.cache import Cache, dumps
from trtconv.cli.commands import trtexec as command
from trtconv.core.errors import UsageError
from trtconv.core.events import ignore
from trtconv.core.lazy import resolve
from trtconv.job import trtexec
from trtconv.job.load import load_job
from trtconv.job.trtexec_flags import CHOICES, EXPORTS, FLAGS
from trtconv.job.trtexec_line import parse
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.line import line, upto
from trtconv.pipeline.steps import STAGES, History

ROOT = Path(__file__).parents[2]
LINES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "trtexec_lines.yaml").read_text())
MADE = [case for case in LINES if "refused" not in case]
EMITTED = [case for case in MADE if "exports" not in case]


_CAFFE = "".join(
    [
        caffe_networks.head("net", 4, 3, 8, 8),
        caffe_networks.conv("conv", "data", 4, 3),
        caffe_networks.dense("fc", "conv", 5),
        caffe_networks.layer("Softmax", "prob", "fc", "prob"),
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tiny models and what goes with them; the working folder of all tests here."""
    home = tmp_path_factory.mktemp("trtexec")
    net = residual_cnn()
    onnx.save(net, home / "net.onnx")
    amax = {name: float(np.abs(array).max()) for name, array in everything(net, {"image": images(8)}).items()}
    (home / "net.cache").write_text(dumps(Cache(amax)))
    images(2).tofile(home / "image.bin")
    static = residual_cnn()
    for tensor in (*static.graph.input, *static.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(static, home / "static.onnx")
    scale = {"s": np.float32(0.1), "z": np.int8(0)}
    pairs = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), node("Relu", "d", "y")]
    onnx.save(model(pairs, [value("x", ["batch", 4])], [value("y", ["batch", 4])], scale), home / "qdq.onnx")
    half = onnx.TensorProto.FLOAT16
    onnx.save(
        model([node("Relu", "x", "y")], [value("x", ["batch", 4], half)], [value("y", ["batch", 4], half)]),
        home / "half.onnx",
    )
    both = [value(name, ["batch", "length"]) for name in ("ids", "mask")]
    onnx.save(model([node("Mul", "ids mask", "y")], both, [value("y", ["batch", "length"])]), home / "pair.onnx")
    caffe_networks.write(home, "net", _CAFFE)
    named = b"\x0a\x05image\x12\x0bPlaceholder"
    (home / "frozen.pb").write_bytes(b"\x0a" + bytes([len(named)]) + named)
    before = Path.cwd()
    os.chdir(home)
    yield home
    os.chdir(before)


def translated(text: str) -> trtexec.Translation:
    given = parse(shlex.split(text))
    return trtexec.translate(given, command._facts(given))


def at(job: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        job = None if job is None else job.get(key)
    return job


def test_there_are_enough_lines() -> None:
    assert len(LINES) >= 40


@pytest.mark.parametrize("case", MADE, ids=lambda case: case["line"])
def test_a_line_becomes_a_job(case: dict[str, Any], folder: Path) -> None:
    wanted = translated(case["line"])
    for dotted, expected in case["gives"].items():
        assert at(wanted.job, dotted) == expected, dotted
    assert {what: str(file) for what, file in wanted.exports.items()} == case.get("exports", {})
    for flag in case.get("notes", ()):
        assert any(note.startswith(f"--{flag}") and "has no effect" in note for note in wanted.notes), flag


@pytest.mark.parametrize("case", [case for case in LINES if "refused" in case], ids=lambda case: case["line"])
def test_a_line_is_refused_by_name(case: dict[str, Any], folder: Path) -> None:
    with pytest.raises(UsageError) as refused:
        translated(case["line"])
    for part in case["refused"]:
        assert (f"--{part}" if part in FLAGS else part) in refused.value.message
    assert "\n\n" not in refused.value.message


@pytest.mark.parametrize("case", MADE, ids=lambda case: case["line"])
def test_no_flag_of_a_line_is_dropped(case: dict[str, Any], folder: Path) -> None:
    """Leaving out any flag changes the job, the remarks, or the file that the engine goes to."""
    flags = shlex.split(case["line"])
    whole = translated(case["line"])
    for flag in flags:
        name = flag.removeprefix("--").partition("=")[0]
        if name in ("onnx", "uff", "saveEngine"):
            continue
        try:
            without = translated(shlex.join(other for other in flags if other != flag))
        except UsageError:
            continue  # it is needed by another one
        same_default = name in ("stronglyTyped", "int8", "semantics") and "typed" in str(whole.job)
        assert without != whole or same_default, flag


@pytest.mark.parametrize(
    "case", [case for case in EMITTED if "--uff" not in case["line"]], ids=lambda case: case["line"]
)
def test_the_emitted_job_makes_the_same_typed_onnx(case: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    flags = shlex.split(case["line"])
    given = parse(flags)
    wanted = translated(case["line"])
    direct = command._validated(command._with_samples(wanted, tmp_path / "inputs.npz"), tmp_path / "direct", "m")
    command._emit(wanted, tmp_path / "emitted/job.yaml", given, flags)
    emitted = load_job(tmp_path / "emitted/job.yaml")
    assert emitted.replaced(**same(direct)) == direct
    assert typed(emitted, tmp_path / "a") == typed(direct, tmp_path / "b")


def same(direct: Any) -> dict[str, Any]:
    """What may differ: where files go, and where the samples were copied to."""
    return {"name": direct.name, "output": direct.output, "bench": direct.bench}


def typed(job: Any, folder: Path) -> str:
    """SHA-256 of the typed ONNX that a job leads to, run in this process."""
    if job.precision == ["typed"]:
        return hashlib.sha256(job.source.path.read_bytes()).hexdigest()
    layout = Layout(folder, "m")
    folder.mkdir()
    results: dict[str, Any] = {}
    for step in upto(line(job, layout), "lower"):
        results[step.name] = resolve(STAGES[step.stage].function)(step.request(History(results, {})), ignore)
    return hashlib.sha256(layout.typed(job.precision[0]).read_bytes()).hexdigest()


def test_samples_of_an_emitted_job_are_those_of_the_line(folder: Path, tmp_path: Path) -> None:
    text = "--onnx=net.onnx --loadInputs=image:image.bin --shapes=image:2x8x8x1"
    command._emit(translated(text), tmp_path / "job.yaml", parse(text.split()), text.split())
    job = load_job(tmp_path / "job.yaml")
    np.testing.assert_array_equal(np.load(job.bench.data.path)["image"], images(2))
    wrong = translated("--onnx=net.onnx --loadInputs=image:image.bin --shapes=image:4x8x8x1")
    with pytest.raises(UsageError, match=r"has 512 bytes; .* takes 1024"):
        command._with_samples(wrong, tmp_path / "x.npz")


def test_every_flag_has_a_fate_and_a_reason() -> None:
    assert {flag.fate for flag in FLAGS.values()} == {"honoured", "no effect", "refused"}
    assert all(len(flag.text) > 8 for flag in FLAGS.values())
    files = (*(f"job/trtexec{part}.py" for part in ("", "_features", "_line", "_shapes")), "cli/commands/trtexec.py")
    mapped = "".join((ROOT / f"trtconv/{file}").read_text() for file in files)
    tables = {*CHOICES, *(flag for pair in EXPORTS.values() for flag in pair)}
    honoured = [name for name, flag in FLAGS.items() if flag.fate == "honoured"]
    assert [name for name in honoured if f'"{name}"' not in mapped and name not in tables] == []


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts/trtexec_reference.py"))
    assert script["page"]() == (ROOT / "docs/trtexec.md").read_text(), "run: make docs"


@INT8_CONVOLUTIONS
def test_lines_that_scripts_look_for(folder: Path, trtconv: Any) -> None:
    build = trtconv(
        "trtexec",
        "--onnx=net.onnx",
        "--int8",
        "--calib=net.cache",
        "--shapes=image:2x8x8x1",
        "--saveEngine=x.engine",
        "--duration=0.05",
        "--percentile=50,99.9",
        cwd=folder,
    )
    assert build.returncode == 0, build.stderr
    number = r"\d[\d.e+-]*"
    assert re.search(rf"^\[.*\] \[I\] Throughput: {number} qps$", build.stdout, re.MULTILINE)
    wanted = rf"Latency: min = {number} ms, max = {number} ms, mean = {number} ms, median = {number} ms, "
    assert re.search(
        wanted + rf"percentile\(50%\) = {number} ms, percentile\(99\.9%\) = {number} ms$", build.stdout, re.MULTILINE
    )
    assert re.search(rf"Total Host Walltime: {number} s", build.stdout)
    assert build.stdout.startswith("&&&& RUNNING TensorRT.trtexec [trtconv ")
    assert build.stdout.splitlines()[-1].startswith("&&&& PASSED TensorRT.trtexec ")
    facts = json.loads((folder / "x.engine.json").read_text())
    assert facts["precision"]["name"] == "int8"
    assert facts["model"]["sha256"] == hashlib.sha256((folder / "x.engine.onnx").read_bytes()).hexdigest()
    measured = trtconv(
        "trtexec",
        "--loadEngine=x.engine",
        "--shapes=image:2x8x8x1",
        "--loadInputs=image:image.bin",
        "--duration=0.05",
        cwd=folder,
    )
    assert measured.returncode == 0, measured.stderr
    assert "Throughput: " in measured.stdout
    wrong = trtconv("trtexec", "--loadEngine=x.engine", "--shapes=image:2x9x9x1", cwd=folder)
    assert wrong.returncode == 2
    assert "optimum 2x8x8x1: only the batch may differ" in wrong.stderr
    version = trtconv("trtexec", "--loadEngine=x.engine", "--getPlanVersionOnly", cwd=folder)
    assert f"Plan was created with TensorRT version {facts['version']}" in version.stdout


@pytest.mark.rtx
def test_files_of_a_measurement(folder: Path, trtconv: Any) -> None:
    done = trtconv(
        "trtexec",
        "--onnx=net.onnx",
        "--noTF32",
        "--shapes=image:2x8x8x1",
        "--loadInputs=image:image.bin",
        "--duration=0.05",
        "--percentile=99",
        "--saveEngine=y.engine",
        "--exportTimes=times.json",
        "--exportOutput=out.json",
        "--dumpOutput",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    queries = json.loads((folder / "times.json").read_text())
    assert len(queries) >= 10
    assert all(q["endComputeMs"] - q["startComputeMs"] == pytest.approx(q["latencyMs"]) for q in queries)
    assert all(a["endComputeMs"] <= b["startComputeMs"] for a, b in itertools.pairwise(queries))
    slowest = float(re.search(r"Latency: min = \S+ ms, max = (\S+) ms", done.stdout)[1])
    assert max(q["latencyMs"] for q in queries) == pytest.approx(slowest, rel=1e-4)
    written = {output["name"]: output for output in json.loads((folder / "out.json").read_text())}
    net = onnx.load(folder / "net.onnx")
    assert list(written) == [output.name for output in net.graph.output]
    for name, output in written.items():
        expected = everything(net, {"image": images(2)})[name]
        assert output["dimensions"] == "x".join(map(str, expected.shape))
        np.testing.assert_allclose(output["values"], expected.ravel(), rtol=1e-4, atol=1e-6)
        printed = done.stdout.partition(f"{name}: ({output['dimensions']})\n")[2].splitlines()[0]
        np.testing.assert_allclose(np.array(printed.split(), float), output["values"], rtol=1e-4)
    again = trtconv(
        "trtexec",
        "--loadEngine=y.engine",
        "--shapes=image:2x8x8x1",
        "--loadInputs=image:image.bin",
        "--duration=0.05",
        "--workspace=64",
        "--exportOutput=again.json",
        cwd=folder,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads((folder / "again.json").read_text()) == list(written.values())
    assert "--workspace has no effect: the engine is built already" in again.stdout


@pytest.mark.rtx
def test_several_profiles_are_built_in(folder: Path, trtconv: Any) -> None:
    bounds = [[1, 1, 1], [2, 8, 32]]
    flags = [
        f"--{bound}Shapes=image:{size}x8x8x1"
        for sizes in bounds
        for bound, size in zip(("min", "opt", "max"), sizes, strict=True)
    ]
    done = trtconv(
        "trtexec",
        "--onnx=net.onnx",
        "--profile=0",
        *flags[:3],
        "--profile=1",
        *flags[3:],
        "--saveEngine=p.engine",
        "--skipInference",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((folder / "p.engine.json").read_text())
    found = [[profile["image"][bound][0] for bound in ("min", "opt", "max")] for profile in facts["profiles"]]
    assert found == bounds


@pytest.mark.rtx
def test_what_only_another_machine_can_do_is_refused(folder: Path, trtconv: Any) -> None:
    if not without_gpu():
        pytest.skip("this machine can do it")
    layers = trtconv("trtexec", "--onnx=net.onnx", "--duration=0.05", "--exportLayerInfo=layers.json", cwd=folder)
    assert layers.returncode == 5
    assert "only an engine on a GPU tells of its layers" in layers.stderr
    assert not (folder / "layers.json").exists()
    level = trtconv("trtexec", "--onnx=net.onnx", "--builderOptimizationLevel=5", "--skipInference", cwd=folder)
    assert level.returncode == 2
    assert "build.optimization_level changes nothing" in level.stderr


def test_a_refusal_fails_with_trtconvs_exit_code(folder: Path, trtconv: Any) -> None:
    done = trtconv("trtexec", "--onnx=net.onnx", "--int8", "--device=1", cwd=folder)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith("&&&& FAILED TensorRT.trtexec ")
    assert "--int8: needs --calib=FILE" in done.stderr
    assert "--device: choose the GPU by the environment variable" in done.stderr
    (folder / "old.uff").write_bytes(b"\x08\x01\x10\x01\x22\x04main")
    uff = trtconv("trtexec", "--uff=old.uff", "--uffInput=x,1,2,3", cwd=folder)
    assert uff.returncode == 3
    assert "UFF files have had no reader" in uff.stderr
    assert sys.executable not in uff.stderr

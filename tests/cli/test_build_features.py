"""What a build is asked for besides: refused by check with the next step, told with its price, and in the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import Cli
from tests.networks import residual_cnn
from tests.small_jobs import job

BUILD = "build: {backend: rtx, "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(residual_cnn(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8, 1), np.float32))
    (tmp_path / "lean.so").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "says", "then"),
    [
        (BUILD + "version_compatibility: embedded_runtime}", "has no lean runtime", "build: {backend: tensorrt}"),
        (BUILD + "dla: {core: 0}}\nprecision: fp16", "builds for GPUs only: build.dla", "remove build.dla"),
        (BUILD + "dla: {}}", "fp32 leaves nothing to build.dla, which computes fp16 and int8", ""),
        (BUILD + "hardware_compatibility: ampere+}", "build.hardware_compatibility changes nothing", "build.targets"),
        (BUILD + "weight_streaming: true, fallback: onnxruntime}", "weight_streaming is for a single engine", ""),
        (BUILD + "refit: true, version_compatibility: embedded_runtime}", "a lean runtime cannot refit", ""),
        (BUILD + "strip_weights: true}\nbench: {}", "runs only after trtconv refit", ""),
        ("bench: {weight_streaming_budget: 50%}", "build: {weight_streaming: true}", ""),
        ("infer: {data: {path: x.npy}, weight_streaming_budget: 120%}", "expected a budget such as 512MiB", ""),
        ("build: {weight_streaming: true}\nbench: {backend: onnxruntime, weight_streaming_budget: 0}", "runs ONNX", ""),
        ("bench: {lean_runtime: lean.so}", "build: {version_compatibility: external_runtime}", ""),
        (
            "build: {version_compatibility: external_runtime}\nbench: {lean_runtime: lean.so}",
            "lean.so is code, which runs only by your leave",
            "--allow-code",
        ),
        (
            "build: {version_compatibility: embedded_runtime}\nbench: {}",
            "the lean runtime inside the engine is code",
            "--allow-code",
        ),
    ],
)
def test_check_refuses_what_cannot_be(trtconv: Cli, folder: Path, text: str, says: str, then: str) -> None:
    job(folder / "job.yaml", f"{text}\n")
    done = trtconv("check", "job.yaml")
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert then in done.stderr
    assert not (folder / "build").exists()


@pytest.mark.parametrize("key", ["refit", "strip_weights"])
def test_check_says_that_refitting_needs_a_gpu(trtconv: Cli, folder: Path, key: str) -> None:
    from tests.conftest import without_gpu

    if not without_gpu():
        pytest.skip("there is a GPU")
    job(folder / "job.yaml", f"{BUILD}{key}: true}}\n")
    done = trtconv("check", "job.yaml")
    assert done.returncode == 5
    assert f"build.{key}: TensorRT-RTX" in done.stderr
    assert "trtconv refit builds again where it cannot refit" in done.stderr


def test_plan_and_check_tell_what_it_costs(trtconv: Cli, folder: Path) -> None:
    job(folder / "job.yaml", f"{BUILD}weight_streaming: true}}\n")
    for command in ("plan", "check"):
        assert "what it costs: build.weight_streaming: nothing while all weights" in trtconv(command, "job.yaml").stdout
        costs = json.loads(trtconv(command, "job.yaml", "--json").stdout)["costs"]
        assert [cost.partition(":")[0] for cost in costs] == ["build.weight_streaming"]
    job(folder / "job.yaml", "")
    assert "what it costs" not in trtconv("plan", "job.yaml").stdout


@pytest.mark.rtx
def test_an_engine_that_streams_is_another_engine(trtconv: Cli, folder: Path) -> None:
    """The key rebuilds, sidecar and inspect tell, and a budget that cannot be kept says so."""
    text = "build: {{backend: rtx, weight_streaming: {}}}\nbench: {{batch: 1, duration: 0.05{}}}\n"
    job(folder / "job.yaml", text.format("false", ""))
    assert trtconv("run", "job.yaml").returncode == 0
    engine = folder / "build/job/job.fp32.engine"
    plain = engine.read_bytes()
    job(folder / "job.yaml", text.format("true", ', weight_streaming_budget: "50%"'))
    steps = json.loads(trtconv("plan", "job.yaml", "--json").stdout)["steps"]
    assert {step["name"] for step in steps if step["will_run"]} == {"build[fp32]", "bench[fp32]"}
    done = trtconv("run", "job.yaml")
    assert done.returncode == 0, done.stderr
    assert engine.read_bytes() != plain
    assert "its weights can be streamed from host memory" in trtconv("inspect", str(engine)).stdout
    if "ONNX Runtime runs" in done.stderr:
        assert "the budget for weights has no effect: ONNX Runtime keeps them in host memory" in done.stderr


@pytest.mark.rtx
def test_options_of_a_model(trtconv: Cli, folder: Path) -> None:
    done = trtconv("build", "model.onnx", "-o", "e.engine", "--weight-streaming", "--backend", "rtx")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "e.engine.json").read_text())["features"]["streaming"] is True
    wrong = trtconv("bench", "e.engine", "--weight-streaming-budget", "a lot")
    assert wrong.returncode == 2
    assert "--weight-streaming-budget: expected a budget such as 512MiB, 50%, all or auto" in wrong.stderr
    assert "--weight-streaming-budget" in trtconv("infer", "--help").stdout


@pytest.mark.rtx
def test_no_server_gets_an_engine_without_weights(trtconv: Cli, folder: Path) -> None:
    assert trtconv("build", "model.onnx", "-o", "e.engine", "--backend", "rtx").returncode == 0
    facts = json.loads((folder / "e.engine.json").read_text())
    facts["features"]["stripped"] = True  # no machine without a GPU builds one
    (folder / "e.engine.json").write_text(json.dumps(facts))
    done = trtconv("export", "triton", "e.engine", "-o", "models")
    assert done.returncode == 2
    assert "e.engine: it holds no weights, and no server can run it" in done.stderr
    assert not (folder / "models").exists()
    assert "it holds no weights: trtconv refit puts them in" in trtconv("inspect", "e.engine").stdout
    measured = trtconv("bench", "e.engine", "--backend", "rtx")
    assert measured.returncode == 5

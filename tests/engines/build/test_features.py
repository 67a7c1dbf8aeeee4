"""What engines are built to do besides, on objects that have the recorded names: flags, and what refuses them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.fake_tensorrt import H200
from tests.engines.test_recorded_apis import ALL, RTX, TENSORRT, built, called
from trtconv import Engine
from trtconv.adapters import cuda_driver
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.records import Dla, Features
from trtconv.engines.plan import header, preflight, sidecar
from trtconv.engines.run.opening import open_runner

FEATURES: dict[str, tuple[Features, set[str]]] = {
    "streaming": (Features(streaming=True), {"WEIGHT_STREAMING"}),
    "refit": (Features(refit=True), {"REFIT"}),
    "stripped, for its own weights": (Features(stripped=True), {"STRIP_PLAN", "REFIT_IDENTICAL"}),
    "stripped, for any": (Features(stripped=True, refit=True), {"STRIP_PLAN", "REFIT"}),
}
LEAN = {
    "embedded": (Features(lean="embedded_runtime"), {"VERSION_COMPATIBLE"}),
    "external": (Features(lean="external_runtime"), {"VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"}),
}


def on_a_jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    orin = replace(H200, name="Orin", capability=(8, 7), integrated=True)
    monkeypatch.setattr(cuda_driver, "_machine", lambda: cuda_driver._Machine(13000, (orin,), ""))


def flags(fake: Any) -> set[str]:
    return {given["flag"].name for given in called(fake, "IBuilderConfig.set_flag")}


@pytest.mark.parametrize(("record", "name"), [*itertools.product(ALL, FEATURES), *itertools.product(TENSORRT, LEAN)])
def test_flags_of_features(install: Any, doubling: Path, record: str, name: str) -> None:
    fake, _ = install(record)
    features, wanted = (FEATURES | LEAN)[name]
    path = built(fake, doubling, features=features)
    assert flags(fake) == wanted
    assert sidecar.features(path) == features


@pytest.mark.parametrize("record", ALL)
def test_without_features_no_flag_is_set(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    path = built(fake, doubling)
    assert flags(fake) == set()
    assert called(fake, "IBuilderConfig.default_device_type") == []
    facts = json.loads(sidecar.path_of(path).read_text())
    del facts["features"]  # as trtconv 0.1 wrote it
    sidecar.path_of(path).write_text(json.dumps(facts))
    assert sidecar.features(path) == Features()


@pytest.mark.parametrize("record", RTX)
@pytest.mark.parametrize(
    ("features", "message"),
    [
        (Features(lean="embedded_runtime"), "has no lean runtime, and its engines run with the version that built"),
        (Features(lean="external_runtime"), "has no lean runtime"),
        (Features(dla=Dla()), "builds for GPUs only: build.dla is for TensorRT on a Jetson"),
    ],
)
def test_what_rtx_has_not(install: Any, doubling: Path, record: str, features: Features, message: str) -> None:
    fake, _ = install(record)
    with pytest.raises(UsageError, match=message) as refused:
        built(fake, doubling, features=features)
    assert "remove" in refused.value.hint


@pytest.mark.parametrize("record", TENSORRT)
@pytest.mark.parametrize("fallback", [True, False])
def test_an_accelerator_is_asked_for(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch, record: str, fallback: bool
) -> None:
    fake, _ = install(record)
    on_a_jetson(monkeypatch)
    fake.dla_cores = 2
    path = built(fake, doubling, features=Features(dla=Dla(1, gpu_fallback=fallback)))
    assert called(fake, "IBuilderConfig.default_device_type") == [fake.DeviceType.DLA]
    assert called(fake, "IBuilderConfig.DLA_core") == [1]
    assert ("GPU_FALLBACK" in flags(fake)) is fallback
    open_runner(path)[0].close()
    assert called(fake, "Runtime.DLA_core") == [1]
    with pytest.raises(UsageError, match="core 2 was asked for, and TensorRT finds 2 deep-learning accelerators"):
        built(fake, doubling, features=Features(dla=Dla(2)))


@pytest.mark.parametrize("record", TENSORRT)
def test_a_desktop_card_has_none(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    with pytest.raises(UsageError, match="this machine has a NVIDIA H200, and no deep-learning accelerator"):
        built(fake, doubling, features=Features(dla=Dla()))


@pytest.mark.parametrize("record", RTX)
@pytest.mark.parametrize(("features", "key"), [(Features(refit=True), "refit"), (Features(stripped=True), "strip_w")])
def test_without_a_gpu_there_is_no_refit(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch, record: str, features: Features, key: str
) -> None:
    fake, _ = install(record)
    monkeypatch.setattr(cuda_driver, "_machine", lambda: cuda_driver._Machine(0, (), "no NVIDIA driver"))
    with pytest.raises(EnvironmentProblem, match=rf"build\.{key}.* on a GPU only, and no NVIDIA driver") as refused:
        built(fake, doubling, features=features)
    assert "trtconv refit builds again" in refused.value.hint


@pytest.mark.parametrize("record", ALL)
def test_an_engine_without_weights_does_not_run(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    path = built(fake, doubling, features=Features(stripped=True))
    assert "it holds no weights: trtconv refit ENGINE MODEL -o WHOLE puts them in" in preflight.preflight(path)
    with pytest.raises(EnvironmentProblem, match="it holds no weights"):
        Engine(path, backend="tensorrt" if fake.module == "tensorrt" else "rtx")


def test_what_an_engine_brings_runs_with_leave_only(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = install("tensorrt-11.4.0")
    monkeypatch.setenv("TRTCONV_ALLOW_CODE", "")
    path = built(fake, doubling, features=Features(lean="embedded_runtime"))
    with pytest.raises(UsageError, match="the lean runtime inside doubling") as refused:
        Engine(path)
    assert "--allow-code" in refused.value.hint
    with Engine(path, allow_code=True):
        pass
    assert called(fake, "Runtime.engine_host_code_allowed") == [True]


def test_a_lean_runtime_runs_the_engine(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTCONV_ALLOW_CODE", "")
    fake, _ = install("tensorrt-11.4.0")
    path = built(fake, doubling, features=Features(lean="external_runtime"))
    library = doubling.with_name("libnvinfer_lean.so.11")
    library.touch()
    with pytest.raises(EnvironmentProblem, match="is no lean runtime that can run it"):
        Engine(path, lean_runtime=library, allow_code=True, backend="tensorrt")
    fake.libraries[library.name] = []
    with Engine(path, lean_runtime=library, allow_code=True) as engine:
        assert engine.runner.startswith("TensorRT 11.4")
    assert called(fake, "Runtime.load_runtime") == [{"path": str(library)}] * 2


@pytest.mark.parametrize(("lean", "doubted"), [("embedded_runtime", False), ("none", True)])
def test_later_versions_are_not_doubted(install: Any, doubling: Path, lean: str, doubted: bool) -> None:
    fake, _ = install("tensorrt-10.16.1")
    path = built(fake, doubling, features=Features(lean=lean))
    from trtconv.adapters.tensorrt import load

    later = replace(load("tensorrt"), version="11.4.0.106")
    said = " ".join(preflight.doubts(path, header.read(path), later, H200))
    assert ("it was built by TensorRT 10.16.1.11, and this is 11.4.0.106" in said) is doubted

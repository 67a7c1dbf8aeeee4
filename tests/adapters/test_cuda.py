"""The door to the GPU on a machine without one: reasons, not crashes."""

from __future__ import annotations

import pytest

from trtconv.adapters import cuda, cuda_driver
from trtconv.adapters.cuda_driver import Gpu
from trtconv.core.errors import EnvironmentProblem, MissingPackage

H200 = Gpu(0, "NVIDIA H200", (9, 0), 141 << 30, False)


def machine(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, problem: str = "") -> None:
    monkeypatch.setattr(cuda_driver, "_machine", lambda: cuda_driver._Machine(13000 if gpus else 0, gpus, problem))


@pytest.mark.parametrize("api", ["auto", "cuda", "pycuda"])
def test_without_a_driver_the_reason_is_given(monkeypatch: pytest.MonkeyPatch, api: str) -> None:
    machine(monkeypatch, problem="this machine has no NVIDIA driver (libcuda.so.1 is missing)")
    with pytest.raises(EnvironmentProblem, match="no NVIDIA driver") as raised:
        cuda.open_device(api)
    assert raised.value.exit_code == 5
    assert raised.value.hint


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, H200)
    monkeypatch.setattr(cuda.versions, "of", lambda names: {})
    with pytest.raises(MissingPackage) as raised:
        cuda.open_device("pycuda")
    assert raised.value.extra == "pycuda"
    with pytest.raises(MissingPackage) as raised:
        cuda.open_device("auto")
    assert raised.value.extra == "cuda"


def test_auto_takes_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.versions, "of", lambda names: {"pycuda": "2026.1"} if names == ["pycuda"] else {})
    assert cuda._choose("auto") == "pycuda"
    monkeypatch.setattr(cuda.versions, "of", lambda names: {names[0]: "1"})
    assert cuda._choose("auto") == "cuda"


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, H200)
    with pytest.raises(EnvironmentProblem, match="no GPU 3: this machine has 1"):
        cuda.open_device(index=3)


def test_probe_tells_gpu_driver_and_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, H200)
    monkeypatch.setattr(
        cuda.versions, "of", lambda names: {"cuda-bindings": "13.3.0"} if names == ["cuda-bindings"] else {}
    )
    assert cuda.probe() == {
        "driver": "CUDA 13.0",
        "gpus": "NVIDIA H200, compute capability 9.0, 141.0 GiB",
        "device_api cuda": "13.3.0",
        "device_api pycuda": "not installed",
    }


def test_out_of_memory_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    error = cuda.out_of_memory(8 << 30, 3 << 30)
    assert str(error) == "out of GPU memory: 8.0 GiB needed, 3.0 GiB free"
    assert "batch" in error.hint

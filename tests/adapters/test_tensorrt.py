"""The door to both flavours: loading, probing, choosing, and what it says when something is missing."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from trtconv.adapters import cuda_driver, tensorrt
from trtconv.adapters.cuda_driver import Gpu
from trtconv.core.errors import EnvironmentProblem, MissingPackage

H200 = Gpu(0, "NVIDIA H200", (9, 0), 141 << 30, False)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    tensorrt.load.cache_clear()
    yield
    tensorrt.load.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, module: str, version: str) -> types.ModuleType:
    fake = types.ModuleType(module)
    fake.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, fake)
    return fake


def with_gpus(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu) -> None:
    problem = "" if gpus else "this machine has no NVIDIA driver"
    monkeypatch.setattr(cuda_driver, "_machine", lambda: cuda_driver._Machine(13000 if gpus else 0, gpus, problem))


def test_both_flavors_load_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pretend(monkeypatch, "tensorrt", "10.16.1.11"), pretend(monkeypatch, "tensorrt_rtx", "1.7.1.116")
    assert tensorrt.load("tensorrt").api is first
    assert tensorrt.load("rtx").api is second
    assert tensorrt.load("rtx").title == "TensorRT-RTX 1.7.1.116"


def test_a_missing_flavor_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(tensorrt.importlib, "import_module", missing)
    with pytest.raises(MissingPackage) as raised:
        tensorrt.load("tensorrt")
    assert raised.value.exit_code == 5
    assert raised.value.extra == "tensorrt"


def test_a_library_that_does_not_load_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'tensorrt_libs'", name="tensorrt_libs")

    monkeypatch.setattr(tensorrt.importlib, "import_module", broken)
    with pytest.raises(
        EnvironmentProblem, match="installed but does not load: No module named 'tensorrt_libs'"
    ) as raised:
        tensorrt.load("tensorrt")
    assert not isinstance(raised.value, MissingPackage)


OUTSIDE = [("tensorrt", "tensorrt", "8.6.1"), ("tensorrt", "tensorrt", "12.0.0"), ("tensorrt_rtx", "rtx", "1.3.0.1")]


@pytest.mark.parametrize(("module", "name", "version"), OUTSIDE)
def test_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch, module: str, name: str, version: str) -> None:
    pretend(monkeypatch, module, version)
    with pytest.raises(EnvironmentProblem, match=f"{version} is not supported: from .* on, before"):
        tensorrt.load(name)


def test_auto_is_tensorrt_only_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tensorrt", "11.4.0.106")
    pretend(monkeypatch, "tensorrt_rtx", "1.7.1.116")
    monkeypatch.setattr(tensorrt, "_installed", lambda name: "11.4.0.106")
    with_gpus(monkeypatch, H200)
    assert tensorrt.choose("auto").flavor.name == "tensorrt"
    with_gpus(monkeypatch)
    assert tensorrt.choose("auto").flavor.name == "rtx"


def test_auto_is_rtx_where_tensorrt_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tensorrt_rtx", "1.5.0.114")
    monkeypatch.setattr(tensorrt, "_installed", lambda name: "" if name == "tensorrt" else "1.5.0.114")
    with_gpus(monkeypatch, H200)
    assert tensorrt.choose("auto").flavor.name == "rtx"


def test_tensorrt_does_not_build_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tensorrt", "11.4.0.106")
    with_gpus(monkeypatch)
    with pytest.raises(EnvironmentProblem, match="builds engines on a GPU only, and this machine has no NVIDIA driver"):
        tensorrt.choose("tensorrt")


def test_probing_imports_nothing() -> None:
    program = """
import sys
from trtconv.adapters import tensorrt, cuda
tensorrt.probe(), cuda.probe()
assert not {"tensorrt", "tensorrt_rtx", "cuda.bindings.runtime", "pycuda"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_flavor_without_metadata_counts_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were copied without their .dist-info are usable; the version is then checked on loading."""
    monkeypatch.setattr(tensorrt.versions, "of", lambda names: {})
    monkeypatch.setattr(tensorrt.importlib.util, "find_spec", lambda name: object() if name == "tensorrt_rtx" else None)
    found = {each.flavor.name: (each.version, each.problem) for each in tensorrt.probe()}
    assert found["rtx"] == ("unknown", "")
    assert found["tensorrt"][0] == ""
    assert found["tensorrt"][1].startswith("not installed: pip install")


@pytest.mark.parametrize(
    ("text", "numbers"), [("1.7.1.116", (1, 7, 1, 116)), ("10.16.1.11.post1", (10, 16, 1, 11)), ("11.0", (11, 0))]
)
def test_versions_compare_as_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert tensorrt.as_numbers(text) == numbers

"""What all tests share: the versions in the header, markers that skip with a reason, the digits, the command line."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from trtconv.core import child, versions
from trtconv.core.files import exclusive

ROOT = Path(__file__).parents[1]
SHOWN = (
    "trtconv",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "numpy",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-bindings",
    "pycuda",
)
# marker (and extra) -> import names
PACKAGES = {"tf": ("tensorflow", "tf2onnx"), "rtx": ("tensorrt_rtx",), "paddle": ("paddle2onnx",)}
INT8_CONVOLUTIONS = pytest.mark.rtx(since="1.7", why="builds INT8 convolutions")
PLUGINS = pytest.mark.rtx(since="1.7", why="takes plugins for any operator")
FEW_EPOCHS = 6  # about 98 % of the held-out digits, in a third of the time

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure() -> None:
    """Child processes import the code beside these tests, installed or not, and compile it once."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def pytest_report_header() -> str:
    return "found: " + ", ".join(f"{name} {version}" for name, version in versions.of(SHOWN).items())


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, modules in PACKAGES.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if item.get_closest_marker(marker) and missing:
            pytest.skip(f"{', '.join(missing)} not installed: pip install 'trtconv[{marker}]'")
    for marker in item.iter_markers("rtx"):
        if since := marker.kwargs.get("since"):
            found = versions.of(["tensorrt-rtx"])["tensorrt-rtx"]
            if tuple(map(int, found.split(".")[:2])) < tuple(map(int, since.split("."))):
                pytest.skip(f"TensorRT-RTX {found}: {marker.kwargs['why']} from {since} on")
    if item.get_closest_marker("gpu") and (why := without_gpu()):
        if os.environ.get("TRTCONV_TEST_GPU") == "required":
            pytest.fail(f"this run is meant for a GPU: {why}", pytrace=False)
        pytest.skip(why)


def hear_interrupts() -> None:
    """In a process that a test starts: one that itself runs in the background of a shell has it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@cache
def without_gpu() -> str:
    """Why GPU tests cannot run here; empty where they can."""
    from trtconv.adapters import cuda

    found = cuda.probe()
    if found["gpus"].startswith("none"):
        return found["gpus"].removeprefix("none: ")
    if all(found[f"device_api {api}"] == "not installed" for api in cuda.APIS):
        return "no Python package for CUDA: pip install 'trtconv[cuda]'"
    return ""


@pytest.fixture(scope="session", autouse=True)
def _caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the caches of the person who runs it, nor does a fixture that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRTCONV_CACHE", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test made is not found by the next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder of the whole test run: the workers of pytest-xdist have the same."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def digits_data(shared_folder: Path) -> Path:
    """What scripts/train_digits.py writes, after a short training: saved_model/, calibration.npz, heldout.npz."""
    if missing := [name for name in PACKAGES["tf"] if importlib.util.find_spec(name) is None]:
        pytest.skip(f"training needs {', '.join(missing)}: pip install 'trtconv[tf]'")
    folder = shared_folder / "digits-data"
    with exclusive(shared_folder / "digits-data.lock", on_wait=lambda: None):
        if not folder.exists():  # it appears whole, so what is there is complete
            script = [sys.executable, ROOT / "scripts/train_digits.py", "--output", folder, "--epochs", str(FEW_EPOCHS)]
            done = subprocess.run(script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (shared_folder / "digits-data.log").write_text(done.stdout)
    return folder


@pytest.fixture(scope="session")
def graphs(shared_folder: Path) -> Path:
    """The models of stages/graph_zoo.py: LeNet in the forms of TensorFlow 1, control flow, TensorFlow Lite, Keras 2."""
    folder = shared_folder / "graph-zoo"
    with exclusive(shared_folder / "graph-zoo.lock", on_wait=lambda: None):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            path = {"PYTHONPATH": f"{ROOT / 'tests/stages'}:{ROOT}"}
            child.call("graph_zoo:make", folder, lambda _: None, shared_folder / "graph-zoo.log", env=path)
            (folder / "done").touch()
    return folder


@pytest.fixture
def trtconv(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run ``python -m trtconv ARGS`` in tmp_path (or ``cwd``), with temporary files and caches of its own."""
    scratch = tmp_path_factory.mktemp("scratch")

    def call(
        *args: object, cwd: Path = tmp_path, env: Mapping[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trtconv", *map(str, args)]
        variables = {**environment(scratch), **(env or {})}
        return subprocess.run(
            command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=timeout, check=False
        )

    return call


def environment(scratch: Path) -> dict[str, str]:
    """This process's environment, with temporary files and caches in ``scratch`` and a terminal of fixed width."""
    return {**os.environ, "TMPDIR": str(scratch), "XDG_CACHE_HOME": str(scratch), "COLUMNS": "100", "NO_COLOR": "1"}

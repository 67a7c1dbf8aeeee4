"""TensorFlow models and what freeze, convert and reference make of them, once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtconv.core import child
from trtconv.core.errors import TrtconvError
from trtconv.core.events import Event
from trtconv.core.files import exclusive
from trtconv.core.records import FeedSpec, SourceSpec
from trtconv.stages.convert import ConvertRequest, ConvertResult
from trtconv.stages.freeze import FreezeRequest, FreezeResult
from trtconv.stages.reference import ReferenceRequest, ReferenceResult

HERE = Path(__file__).parent
SAMPLES = 5

MODELS = {
    "cnn": ("cnn", ""),
    "cnn_keras": ("cnn.keras", ""),
    "two": ("two", ""),
    "two_keras": ("two.keras", ""),
    "wave_keras": ("wave.keras", ""),
    "wide": ("wide", ""),
    "up": ("module", "up"),
    "down": ("module", "down"),
}
"""Name -> (model in the zoo, signature)."""


def in_child(function: str, request: Any, log: Path, heard: Callable[[Event], None] = lambda _: None) -> Any:
    """Call a function of tf_zoo in a process of its own."""
    return child.call(f"tf_zoo:{function}", request, heard, log, env={"PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}).value


@pytest.fixture(scope="session")
def zoo(shared_folder: Path) -> Path:
    """The models of tf_zoo."""
    folder = shared_folder / "tf-zoo"
    with exclusive(shared_folder / "tf-zoo.lock", on_wait=lambda: None):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            in_child("make", folder, folder / "make.log")
            (folder / "done").touch()
    return folder


@dataclass(frozen=True)
class Converted:
    """One model's way through the stages."""

    folder: Path
    frozen: FreezeResult
    onnx: ConvertResult
    reference: ReferenceResult
    feeds: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def converted(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Converted]:
    """Every row of MODELS, frozen, converted and run by TensorFlow."""
    folder = tmp_path_factory.mktemp("converted")
    calls: list[tuple[str, Any]] = []
    feeds = {}
    for name, (path, signature) in MODELS.items():
        source = SourceSpec(zoo / path, signature=signature)
        feeds[name] = samples(path, signature)
        np.savez(folder / f"{name}.npz", **feeds[name])
        calls += [
            ("freeze", FreezeRequest(source, folder / f"{name}.pb")),
            ("convert", ConvertRequest(SourceSpec(folder / f"{name}.pb"), folder / f"{name}.onnx")),
            (
                "reference",
                ReferenceRequest(source, FeedSpec(folder / f"{name}.npz"), folder / f"{name}_reference.npz", batch=2),
            ),
        ]
    results = in_child("run", calls, folder / "log")
    for result in results:
        if isinstance(result, Exception):
            raise result
    return {name: Converted(folder, *results[3 * i : 3 * i + 3], feeds[name]) for i, name in enumerate(MODELS)}


def samples(path: str, signature: str) -> dict[str, np.ndarray]:
    """Random inputs of a model of the zoo."""
    shapes = {
        "cnn": {"image": (8, 8, 1)},
        "two": {"left": (4,), "right": (6,)},
        "wave": {"series": (6, 3)},
        "wide": {"image": (8, 8, 32)},
        "up": {"x": (4,)},
        "down": {"z": (3,)},
    }[signature or Path(path).stem]
    random = np.random.default_rng(1)
    return {name: random.standard_normal((SAMPLES, *shape)).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def in_one_child(tmp_path: Path) -> Callable[[list[tuple[str, Any]]], list[Any]]:
    """Run (stage, request) after each other in one child; results, or the errors raised."""

    def call(calls: list[tuple[str, Any]]) -> list[Any]:
        results: list[Any] = in_child("run", calls, tmp_path / "log")
        return results

    return call


@pytest.fixture
def refusals(in_one_child: Callable[[list[tuple[str, Any]]], list[Any]]) -> Callable[..., Any]:
    """Run requests of one stage in a child and return the errors they end with, after looking at what all share."""

    def call(stage: str, requests: Iterable[Any], *outputs: Path) -> list[Any]:
        results = in_one_child([(stage, request) for request in requests])
        for result in results:
            assert isinstance(result, TrtconvError), f"{stage} succeeded: {result}"
            assert result.hint, result
        assert not [path for path in outputs if path.exists()]
        return results

    return call

"""What a row of the source zoo is made of; each source has its rows in source_zoo_SOURCE.py, as MODELS."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


class Missing(Exception):
    """What a row needs and this machine does not have: the row is left out, and that is said."""


@dataclass(frozen=True)
class Tools:
    """What rows may use.

    Attributes:
        pythons: interpreters by name, such as ``opencv``, that have a framework which this one lacks.
        files: folder with models that others made, one folder per source.
    """

    pythons: Mapping[str, str] = field(default_factory=dict)
    files: Path = ROOT / "shared" / "models"

    def python(self, name: str, module: str) -> str:
        """An interpreter that can import a module.

        Raises:
            Missing: none was named, and this one cannot.
        """
        if name in self.pythons:
            return self.pythons[name]
        if importlib.util.find_spec(module) is None:
            raise Missing(
                f"{module} is not installed here: make source-zoo {name.upper()}=PYTHON names one that has it"
            )
        return sys.executable

    def file(self, name: str) -> Path:
        """A model that others made.

        Raises:
            Missing: it is not there.
        """
        path = self.files / name
        if not path.exists():
            raise Missing(f"there is no {path}: make source-zoo FILES=FOLDER names the folder of models")
        return path


@dataclass(frozen=True)
class Made:
    """A model, ready to be converted.

    Attributes:
        arguments: of ``trtconv convert``, but for -o.
        layers: of the source, or operators, or calls.
        observed: .npz files with inputs (``in.NAME``) and what the source's own framework made of them (``out.NAME``).
        unobserved: why there are none.
        cut: where the model was cut, and what was left out.
        shapes: of dynamic inputs, as ``trtconv build --shapes`` takes them, with spaces between.
        env: variables that the commands need.
        precisions: what is built for each column of engines.
    """

    arguments: Sequence[str]
    layers: int
    observed: Sequence[Path] = ()
    unobserved: str = ""
    cut: str = ""
    shapes: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    precisions: Mapping[str, str] = field(default_factory=lambda: {"fp32": "fp32", "fp16": "fp16"})


@dataclass(frozen=True)
class Model:
    """A row.

    Attributes:
        make: (folder, tools) -> Made; raises Missing.
        bound: largest difference allowed, over the largest value of the output.
        absolute: whether the difference counts as it is, for boxes with classes beside them.
        memory: bytes that converting may take, with all processes; 0: no bound.
        unsupported: the operator that keeps TensorRT-RTX from building it, which convert and build have to name.
    """

    make: Callable[[Path, Tools], Made]
    bound: float = 1e-5
    absolute: bool = False
    memory: int = 0
    unsupported: str = ""


def write_observed(file: Path, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Path:
    """Keep what a framework made of some inputs."""
    arrays = {f"in.{name}": array for name, array in inputs.items()}
    np.savez(file, **arrays, **{f"out.{name}": array for name, array in outputs.items()})
    return file

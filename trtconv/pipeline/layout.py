"""Where a job's files go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.errors import UsageError

PARTS = ".parts"
"""Suffix of a model in parts, as ``engines.plan.manifest`` has it."""


@dataclass(frozen=True)
class Layout:
    """Names of all files that a job makes.

    Attributes:
        folder: of all files.
        name: prefix of all files.
        fixed: place of single files that the user named, by kind (``"engine"``): the ad-hoc commands' ``-o``.
        passing: whether all others are gone when the command ends.
    """

    folder: Path
    name: str
    fixed: Mapping[str, Path] = field(default_factory=dict)
    passing: bool = False

    def file(self, kind: str, suffix: str) -> Path:
        """The path of one file."""
        return self.fixed.get(kind) or self.folder / f"{self.name}{suffix}"

    @property
    def frozen(self) -> Path:
        """Frozen GraphDef; its sidecar is ``.json`` beside it."""
        return self.file("frozen", ".pb")

    @property
    def onnx(self) -> Path:
        """FP32 ONNX."""
        return self.file("onnx", ".onnx")

    @property
    def cache(self) -> Path:
        """Calibration cache."""
        return self.file("cache", ".cache")

    @property
    def reference(self) -> Path:
        """The source framework's outputs."""
        return self.file("reference", ".reference.npz")

    def typed(self, precision: str) -> Path:
        """Typed ONNX."""
        return self.file("typed", f".{precision}.onnx")

    def engine(self, precision: str) -> Path:
        """TensorRT plan.

        Raises:
            UsageError: the user named it as parts are named.
        """
        path = self.file("engine", f".{precision}.engine")
        if path.suffix == PARTS:
            raise UsageError(f"{path.name}: one engine is no folder of parts", hint="add --on-refusal onnxruntime")
        return path

    def parts(self, precision: str) -> Path:
        """Folder of engines, and of ONNX for what TensorRT refuses.

        Raises:
            UsageError: the user named it otherwise.
        """
        path = self.file("engine", f".{precision}{PARTS}")
        if path.suffix != PARTS:
            raise UsageError(f"{path.name}: a model in parts is a folder", hint=f"name it -o {path.stem}{PARTS}")
        return path

    def results(self, precision: str, form: str) -> Path:
        """Outputs of infer."""
        return self.file("results", f".{precision}.results.{form}")

    @property
    def state(self) -> Path:
        """What trtconv remembers of this job between runs: state, digests, logs, the run lock.

        Several jobs may write to one folder, each under its own name.
        """
        return self.folder / ".trtconv" / self.name

"""What a step of a plan is, and what each stage of the line needs to be planned without loading it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class History:
    """What the steps before left.

    Attributes:
        results: stage results, by node name.
        digests: SHA-256 of every file read or made, by path.
    """

    results: Mapping[str, Any]
    digests: Mapping[Path, str]


@dataclass(frozen=True)
class Stage:
    """A stage of the line.

    Attributes:
        function: ``module:function`` of type (request, emit) -> result.
        result: ``module:class`` of the result.
        packages: distributions whose versions change what the stage makes.
        measures: whether the result depends on the GPU of this machine.
        shared: whether what it made may be taken from the store by another job or folder; measurements may not.
        alone: whether nothing else may run beside it: it measures time.
        aside: ``module:function`` of type (request, emit, log) -> child.Outcome, of a stage that has processes of its
            own for what is heavy; empty: all of it runs in one.
    """

    function: str
    result: str
    packages: tuple[str, ...] = ()
    measures: bool = False
    shared: bool = True
    alone: bool = False
    aside: str = ""


_TENSORRT = ("tensorrt", "tensorrt-rtx")

STAGES: Mapping[str, Stage] = {
    "freeze": Stage("trtconv.stages.freeze:freeze", "trtconv.stages.freeze:FreezeResult"),
    "convert": Stage("trtconv.stages.convert:convert", "trtconv.stages.convert:ConvertResult", ("onnx",)),
    "compose": Stage("trtconv.stages.compose:compose", "trtconv.stages.compose:ComposeResult", ("onnx",)),
    "calibrate": Stage(
        "trtconv.stages.calibrate:calibrate",
        "trtconv.stages.calibrate:CalibrateResult",
        ("onnx", "onnxruntime", "numpy"),
    ),
    "lower": Stage("trtconv.stages.lower:lower", "trtconv.stages.lower:LowerResult", ("onnx", "numpy")),
    "build": Stage(
        "trtconv.stages.build:build",
        "trtconv.stages.build:BuildResult",
        _TENSORRT,
        measures=True,
        aside="trtconv.stages.build:aside",
    ),
    "reference": Stage("trtconv.stages.reference:reference", "trtconv.stages.reference:ReferenceResult"),
    "verify": Stage(
        "trtconv.stages.verify:verify", "trtconv.stages.verify:VerifyResult", ("onnxruntime", *_TENSORRT), measures=True
    ),
    "infer": Stage(
        "trtconv.stages.infer:infer",
        "trtconv.stages.infer:InferResult",
        ("onnxruntime", *_TENSORRT),
        measures=True,
        shared=False,
    ),
    "framework": Stage(
        "trtconv.stages.bench.framework:framework",
        "trtconv.stages.bench.framework_records:FrameworkResult",
        measures=True,
        shared=False,
        alone=True,
    ),
    "bench": Stage(
        "trtconv.stages.bench:bench",
        "trtconv.stages.bench:BenchResult",
        ("onnxruntime", *_TENSORRT),
        measures=True,
        shared=False,
        alone=True,
    ),
}


@dataclass(frozen=True)
class Node:
    """One step of a plan.

    Attributes:
        name: unique, such as ``build[fp16]``.
        stage: row of STAGES.
        request: makes the stage's request from what the steps before left.
        outputs: files the step makes, as later steps read them.
        facts: files about those (times, provenance), which later steps do not depend on.
        packages: distributions whose versions change the outcome, besides the stage's.
        precision: empty for steps that all precisions share.
        needs: names of the steps it depends on.
        inputs: files from outside that it reads, by what they are.
        options: everything else that changes the outcome; plain values.
        versions: of what runs the step elsewhere than in trtconv's own interpreter, by distribution.
        target: compute capability of the one GPU that a step of an engine is for, empty for any; None for steps that
            all engines share.
    """

    name: str
    stage: str
    request: Callable[[History], Any]
    outputs: tuple[Path, ...]
    precision: str = ""
    needs: tuple[str, ...] = ()
    inputs: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: tuple[Path, ...] = ()
    packages: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files the step makes."""
        return (*self.outputs, *self.facts)

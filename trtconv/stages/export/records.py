"""What is exported, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.records import FeedSpec
from trtconv.stages.export.repository import Exported

RUNTIMES = ("auto", "tensorrt", "python", "onnxruntime")


@dataclass(frozen=True)
class Served:
    """One model of the repository.

    Attributes:
        label: what distinguishes it from the others, such as ``fp16``; empty: nothing does.
        engines: engine, or folder of parts, by compute capability such as ``sm86``; ``""``: for any.
        typed: the typed ONNX; None: the one that the engine's sidecar names.
        instances: of it at the same time.
        graphs: whether CUDA graphs are used.
    """

    label: str
    engines: Mapping[str, Path]
    typed: Path | None = None
    instances: int = 1
    graphs: bool = False


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Attributes:
        repository: Triton's folder of models; made where it is missing, and only added to.
        name: start of all models' names.
        models: at least one.
        runtime: ``tensorrt`` (plans of TensorRT), ``python`` (trtconv in the server's Python: engines of TensorRT-RTX,
            and parts), ``onnxruntime`` (typed ONNX); ``auto``: what the files are for.
        delay: seconds that a request may wait for others to make a batch with.
        data: samples, for warm-up with the first one; None: no warm-up.
        preprocess: rows before the network.
        postprocess: rows after it.
        ensemble: whether rows that ONNX can say become models around the network.
        link: hard links instead of copies where the file system allows.
    """

    repository: Path
    name: str
    models: tuple[Served, ...]
    runtime: str = "auto"
    delay: float = 0.0001
    data: FeedSpec | None = None
    preprocess: tuple[Mapping[str, object], ...] = ()
    postprocess: tuple[Mapping[str, object], ...] = ()
    ensemble: bool = True
    link: bool = False


@dataclass(frozen=True)
class ExportResult:
    """What the repository holds now.

    Attributes:
        repository: its folder.
        models: of this export, in order.
        notes: what a reader must know: what was left out, what the server needs.
    """

    repository: Path
    models: tuple[Exported, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)

"""What a benchmark asks of a model in parts beside what it asks of an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core.errors import EnvironmentProblem
from trtconv.core.records import PartTime

if TYPE_CHECKING:
    import numpy as np

    from trtconv.core.input_use import Use
    from trtconv.engines.run.engine import Engine
    from trtconv.engines.run.runner import EngineRunner, Runner


def is_parts(model: Path) -> bool:
    """Whether a model is a folder of parts."""
    from trtconv.engines.plan import manifest

    return manifest.is_parts(model)


def times(runner: Runner, feeds: Mapping[str, np.ndarray]) -> tuple[PartTime, ...]:
    """Of each part; none of a model that is whole."""
    from trtconv.engines.measure import part_times

    return part_times.measure(runner, feeds)


def notes(runner: EngineRunner) -> Iterator[str]:
    """What a reader must know of the numbers of engines and ONNX Runtime in turns."""
    from trtconv.engines.run.parts_engine import PartsEngine

    engine = runner.engine
    if not isinstance(engine, PartsEngine):
        return
    if engine.rests:
        yield (
            f"{engine.rests} of {len(engine.steps)} parts run on the CPU: compute holds their time and that of the "
            "copies for them"
        )


def refuse_layers(runner: Runner, file: Path | None) -> None:
    """Refuse a file of all layers of a model that has several engines.

    Raises:
        EnvironmentProblem: it names an engine to ask.
    """
    from trtconv.engines.run.parts_engine import PartsEngine

    engine = getattr(runner, "engine", None)
    if file is not None and isinstance(engine, PartsEngine):
        raise EnvironmentProblem(
            f"{file}: the layers are those of one engine, and {engine.path} has {len(engine.engines)}",
            hint=f"ask for those of one: trtconv bench {engine.engines[0].path}",
        )


def whole(runner: EngineRunner) -> Engine:
    """The only engine of a runner."""
    from trtconv.engines.run.engine import Engine

    assert isinstance(runner.engine, Engine)
    return runner.engine


def uses(model: Path) -> dict[str, Use]:
    """What integers that the whole takes are for, as its parts tell."""
    from trtconv.engines.plan import manifest
    from trtconv.graph import input_uses, model_io

    found = manifest.read(model, whole=False)
    told: dict[str, Use] = {}
    for part in found.parts:
        told = {**input_uses.input_uses(model_io.load(model / part["onnx"], weights=False, outside=False)), **told}
    return told

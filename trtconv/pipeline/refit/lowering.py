"""A source trained again, lowered as the model of an engine was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import UsageError
from trtconv.core.events import Emit

if TYPE_CHECKING:
    from trtconv.engines.plan.sidecar import Sidecar
    from trtconv.job.schema import Job

_AFTER = (
    "build",
    "verify",
    "infer",
    "bench",
    "export",
    "gates",
    "matrix",
    "plugins",
)  # sections of no concern to typed ONNX


def lowered(known: Sidecar, model: Path, folder: Path, emit: Emit, *, allow_code: bool) -> Path:
    """The typed ONNX of a source, by the job that the engine was built by.

    Args:
        known: facts of the engine.
        model: source in the engine's place.
        folder: for all files.
        emit: gets the events.
        allow_code: whether code inside the model may run.

    Raises:
        TrtconvError: what the stages raise, or the job, whose files may have gone.
    """
    from trtconv.pipeline.layout import Layout
    from trtconv.pipeline.line import line, upto
    from trtconv.pipeline.run import Settings, run

    job = _job(known, model, folder)
    layout = Layout(folder, "model")
    for step in run(upto(line(job, layout, allow_code=allow_code), "lower"), layout, emit, Settings()):
        if step.error is not None:
            raise step.error
    return layout.typed(job.precision[0])


def can_lower(known: Sidecar) -> bool:
    """Whether the engine's facts say how its model was made."""
    job = known.facts.get("provenance", {}).get("job", {})
    return bool(job.get("source")) and known.facts["precision"]["name"] != "typed"


def _job(known: Sidecar, model: Path, folder: Path) -> Job:
    from trtconv.job.load import validate
    from trtconv.job.yaml_tree import Tree

    facts: dict[str, Any] = known.facts["provenance"]["job"]
    plain = {key: value for key, value in facts.items() if key not in _AFTER}
    plain |= {"precision": [known.facts["precision"]["name"]], "output": str(folder), "name": "model"}
    plain["source"] = {**plain["source"], "path": str(model.absolute())}
    if plain["source"].get("weights"):
        raise UsageError(
            f"{known.path}: its source keeps weights in a file of their own",
            hint="make the typed ONNX first: trtconv lower JOB, of a job that names both",
        )
    return validate(Tree(plain, values={(): str(known.path)}), Path.cwd(), "model")

"""prove: an engine that exists is asked in which types it computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtconv.core.errors import EnvironmentProblem, SourceError, UsageError
from trtconv.core.events import Emit, Progress
from trtconv.core.records import Proof


@dataclass(frozen=True)
class ProveRequest:
    """What to prove.

    Attributes:
        engine: the plan.
        model: the typed ONNX that it was built from; None: where the engine's facts say.
    """

    engine: Path
    model: Path | None = None


def prove(request: ProveRequest, emit: Emit) -> Proof:
    """Compare the types of an engine's layers with what its typed ONNX promises.

    Raises:
        UsageError: its typed ONNX is not known.
        SourceError: one of the files cannot be read, or belongs to another.
        EnvironmentProblem: the engine cannot be loaded here, or does not tell its types.
    """
    from trtconv.engines.run import proof
    from trtconv.graph import model_io, types

    model = model_io.load(_model(request), weights=False)
    emit(Progress("asking the engine for its types", 0, None))
    found = proof.of_engine(request.engine, proof.operators(model, types.infer(model)))
    if found.promised and not found.found:
        raise EnvironmentProblem(
            f"{request.engine} cannot be proved here: what is known is the {found.by}",
            hint="use a GPU that it runs on; engines tell types when built with build: {layer_details: detailed}",
        )
    return found


def _model(request: ProveRequest) -> Path:
    """The typed ONNX; that of the engine's facts must be the one that it was built from."""
    from trtconv.core import digests
    from trtconv.engines.plan import sidecar

    if request.model is not None:
        return request.model
    known = sidecar.read(request.engine)
    if known is None or known.model is None:
        raise UsageError(
            f"{request.engine}: the typed ONNX that it was built from is not where its facts say",
            hint=f"trtconv inspect {request.engine} --prove --model TYPED.onnx",
        )
    if digests.of_file(known.model) != known.facts["model"]["sha256"]:
        raise SourceError(
            f"{known.model} is not the model that {request.engine} was built from: it has changed since",
            hint="build the engine again, or name the model with --model",
        )
    return known.model

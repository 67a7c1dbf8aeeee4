"""bench: what a model does per second, and how long one query takes, by named rules."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from trtconv.core import quiet
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.names import did_you_mean
from trtconv.stages.bench.records import BenchRequest, BenchResult, Exports, Measurement, Rival

if TYPE_CHECKING:
    from trtconv.engines.run.runner import Runner

__all__ = ["BenchRequest", "BenchResult", "Exports", "Measurement", "Rival", "bench"]


def bench(request: BenchRequest, emit: Emit) -> BenchResult:
    """Measure a model, one batch size after the other.

    Raises:
        UsageError: unknown semantics, a batch that the model does not take, samples that do not fit.
        SourceError: a damaged model file.
        EnvironmentProblem: the engine cannot run here, and the request allows nothing else; or only a GPU can tell
            what is to be exported.
    """
    from trtconv.core.interrupts import CtrlC
    from trtconv.engines.measure.semantics import RULES, changed
    from trtconv.engines.run.opening import open_runner
    from trtconv.stages.bench.work import Bench

    if request.semantics not in RULES:
        raise UsageError(
            f"unknown semantics {request.semantics!r}; there are {', '.join(RULES)}",
            hint=did_you_mean(request.semantics, RULES),
        )
    if request.rate is not None and request.semantics != "app":
        raise UsageError("a rate of arrivals belongs to the semantics app", hint="semantics: app")
    with CtrlC() as ctrl_c, quiet.measuring(emit):  # from the loading on: the GPU's free memory is told too
        exact = request.data is not None and request.model.suffix.lower() != ".onnx"  # real samples, for the engine
        runner, fell_back = open_runner(
            request.model,
            request.backend,
            request.fallback,
            request.device_api,
            emit,
            exact=exact,
            loading=request.loading,
        )
        with contextlib.closing(runner):
            if fell_back:
                emit(Message(f"ONNX Runtime runs the ONNX model instead of the engine: {fell_back}", "warning"))
            _give_values(runner, request)
            rules = changed(RULES[request.semantics], request.rules)
            return Bench(request, runner, rules, emit, ctrl_c).result(fell_back)


def _give_values(runner: Runner, request: BenchRequest) -> None:
    from trtconv.engines.build import profiles

    if not request.values:
        return
    if runner.values:
        raise UsageError(
            f"{request.model}: the engine has ranges of its own for the values of {', '.join(runner.values[0])}",
            hint="leave --values out",
        )
    profiles.check_values(runner.inputs, (request.values,))
    runner.values = (request.values,)

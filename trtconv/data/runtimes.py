"""Who runs a converted model for its check: ONNX Runtime, and where that cannot, ONNX's own reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.core.errors import EnvironmentProblem, TrtconvError

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class NotRun(Exception):
    """Neither runtime can run a model."""


def open_model(model: Path) -> Run:
    """A model on ONNX Runtime; one that it cannot load fails when it is run."""
    try:
        session = onnxruntime.session(model)
    except EnvironmentProblem as error:
        if type(error) is EnvironmentProblem:  # ONNX Runtime itself is missing, not one of its kernels
            raise
        return _failing(error)
    except TrtconvError as error:
        return _failing(error)
    return session.run


def _failing(error: TrtconvError) -> Run:
    def run(_: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        raise error

    return run


_SMALL = 32 << 20


def in_reference(model: Path, given: Mapping[str, np.ndarray], error: TrtconvError) -> dict[str, np.ndarray]:
    """What ONNX's own reference makes of a small model that ONNX Runtime cannot run.

    Raises:
        NotRun: too large, or it cannot either; the message is ONNX Runtime's.
    """
    from onnx.reference import ReferenceEvaluator

    why = " ".join(str(error).split())[:300]
    if model.stat().st_size > _SMALL or sum(a.nbytes for a in given.values()) > _SMALL:
        raise NotRun(why)
    try:
        evaluator = ReferenceEvaluator(str(model))
        return dict(zip(evaluator.output_names, evaluator.run(None, dict(given)), strict=True))
    except Exception as failure:
        raise NotRun(why) from failure

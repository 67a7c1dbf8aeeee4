"""Results of stages survive being kept as JSON."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtconv.core.lazy import resolve
from trtconv.pipeline.results import plain, restore
from trtconv.pipeline.steps import STAGES

PLAIN = {int: 7, float: 0.25, str: "text", bool: True, Path: Path("/a/b.onnx"), Any: {"x": [1, None]}}


def example(kind: Any) -> Any:
    """A value of a type, with something in every field."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return example(parts[0])
    if origin is tuple:
        return (example(parts[0]), example(parts[0])) if parts[-1] is ... else tuple(example(part) for part in parts)
    if origin in (dict, Mapping):
        return {"key": example(parts[1])}
    if dataclasses.is_dataclass(kind):
        return kind(**{name: example(hint) for name, hint in typing.get_type_hints(kind).items()})
    return PLAIN[kind]


@pytest.mark.parametrize("stage", STAGES)
def test_every_result_comes_back_as_it_was(stage):
    made = example(resolve(STAGES[stage].result))
    assert restore(stage, json.loads(json.dumps(plain(made)))) == made


def test_what_is_missing_stays_missing():
    from trtconv.stages.bench import BenchResult, Measurement

    made = BenchResult("ONNX Runtime on CPU", "", "app", (Measurement(1, 10, 5.0, {"p50": 1.0}),))
    assert restore("bench", json.loads(json.dumps(plain(made)))) == made


def test_a_number_that_json_does_not_know_is_refused_and_not_written_as_text():
    with pytest.raises(TypeError, match="cannot be part"):
        plain({"size": np.int64(3)})

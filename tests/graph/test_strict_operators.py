"""Every operator test of ONNX itself, its floats made float16: strict arithmetic against the reference evaluator."""

from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from trtconv.core.errors import TrtconvError
from trtconv.graph import editing, strict

NEWEST = 26  # opset that ONNX Runtime knows
SECONDS = 20

OTHERWISE = {
    r"affine_grid": "the reference gives float32 for float16",
    r"training_dropout|bernoulli": "random",
    r"mvn_expanded|layer_normalization.*expanded": "the reference rounds the sum of a mean before it divides it",
    r"gridsample": "the reference computes coordinates in float16, ONNX Runtime in FP32: 0.0011",
    r"maxunpool_export_with_output_shape": "the reference ignores output_shape",
}
"""Where the two may differ, and why."""


def half(graph: Any) -> None:
    """Every float32 of a graph as float16, in place."""
    for tensor in graph.initializer:
        _half_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _half_type(value.type)
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("t"):
                _half_tensor(item.t)
            if item.name in ("to", "dtype", "output_dtype") and item.i == TensorProto.FLOAT:
                item.i = TensorProto.FLOAT16


def _half_tensor(tensor: Any) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def _half_type(kind: Any) -> None:
    which = kind.WhichOneof("value")
    if which == "tensor_type" and kind.tensor_type.elem_type == TensorProto.FLOAT:
        kind.tensor_type.elem_type = TensorProto.FLOAT16
    elif which in ("sequence_type", "optional_type"):
        _half_type(getattr(kind, which).elem_type)


def operator_tests() -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """Models that are valid in float16, with their inputs."""
    from onnx.backend.test.case.node import collect_testcases

    for case in sorted({case.name: case for case in collect_testcases(None)}.values(), key=lambda one: one.name):
        if case.model is None or not case.data_sets:
            continue
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        inputs = case.data_sets[0][0]
        plain = all(isinstance(array, np.ndarray | np.generic | float) for array in inputs)
        known = {item.domain for item in model.opset_import} <= {"", "ai.onnx"} and editing.opset(model) <= NEWEST
        if not plain or not known or not any(np.asarray(array).dtype == np.float32 for array in inputs):
            continue
        for graph in editing.graphs(model.graph):
            half(graph)
        try:
            onnx.checker.check_model(model, full_check=True)
        except Exception:  # noqa: BLE001 - the operator takes no float16
            continue
        arrays = [np.asarray(array) for array in inputs]
        lower = [array.astype(np.float16) if array.dtype == np.float32 else array for array in arrays]
        yield case.name, model, dict(zip([value.name for value in model.graph.input], lower, strict=False))


def reference(model: Any, feeds: dict[str, np.ndarray]) -> list[Any] | None:
    """What the evaluator gives; None where it fails or does not end."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        results: list[Any] = ReferenceEvaluator(model).run(None, feeds)
        return results
    except Exception:  # noqa: BLE001 - it lacks the operator in this type
        return None
    finally:
        signal.alarm(0)


def difference(wanted: np.ndarray, got: np.ndarray) -> str:
    """What is not the same; nothing where all is."""
    if (wanted.dtype, wanted.shape) != (got.dtype, got.shape):
        return f"{wanted.dtype}{wanted.shape}, {got.dtype}{got.shape}"
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(np.where(finite, 0, a), np.where(np.isfinite(b), 0, b), equal_nan=True):
        return "NaN or infinity in other places"
    lost, peak = np.abs(a - b, where=finite, out=np.zeros_like(a)).max(initial=0), np.abs(a[finite]).max(initial=0)
    return f"{lost / peak:.2g}" if lost > 1e-3 * peak else ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_operator_in_float16() -> None:
    same, other, refused = [], {}, []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, model, feeds in operator_tests():
            results = reference(model, feeds)
            if results is None or not all(isinstance(one, np.ndarray) for one in results):
                continue
            try:
                got = strict.run(model, feeds)
            except TrtconvError:  # ONNX Runtime lacks it in FP32 too, or the output is a sequence
                refused.append(name)
                continue
            texts = [difference(one, got[value.name]) for one, value in zip(results, model.graph.output, strict=True)]
            if what := "; ".join(filter(None, texts)):
                other[name] = what
            else:
                same.append(name)
    surprising = {name: what for name, what in other.items() if not any(re.search(p, name) for p in OTHERWISE)}
    assert surprising == {}
    assert len(same) > 800
    assert len(refused) < 30, refused

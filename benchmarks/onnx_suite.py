#!/usr/bin/env python3
"""Convert every model that ONNX tests its own backends with, and compare with the outputs that come with them.

The models are those of the installed onnx package: one or more per operator, which it makes when it is asked, and the
light networks in onnx/backend/test/data. Each is converted in this process: it must come out and compute the expected
outputs, or be refused with a message that names an operator.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from trtconv.adapters import onnxruntime
from trtconv.core.errors import TrtconvError
from trtconv.core.records import SourceSpec
from trtconv.report.tables import table
from trtconv.stages.convert import ConvertRequest, convert

DATA = Path(onnx.__file__).parent / "backend/test/data"


def main() -> None:
    """Print the counts; leave with 1 if a light model fails, an output is wrong, or anything but an error came out."""
    options = _options()
    counts: dict[str, Counter[str]] = {"light": Counter(), "node": Counter()}
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, outcome, text in _judged(Path(folder)):
            counts[kind][outcome] += 1
            failed = outcome in ("wrong", "crashed", "refused, no operator named") or (
                kind == "light" and outcome != "same outputs"
            )
            if failed or options.verbose:
                print(f"{kind}/{name}: {outcome}: {text}", flush=True)
            bad += [name] if failed else []
    outcomes = sorted({outcome for counter in counts.values() for outcome in counter})
    rows = [[kind, str(c.total()), *(str(c[outcome]) for outcome in outcomes)] for kind, c in counts.items()]
    print(table(["models", "all", *outcomes], rows, "lrrrrrr"))
    sys.exit(bool(bad))


def _judged(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """(kind, name, outcome, reason) of every model."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        if case.model is not None and case.kind == "node":
            model = folder / "model.onnx"
            onnx.save(case.model, model)
            yield ("node", case.name, *judge(model, folder / "out.onnx", case.data_sets))
    for model in sorted((DATA / "light").glob("*.onnx")):
        yield ("light", model.stem, *judge(model, folder / "out.onnx", None))


def judge(model: Path, target: Path, data: Any) -> tuple[str, str]:
    """What became of one model, and why; without data it is compared with itself in ONNX Runtime."""
    request = ConvertRequest(SourceSpec(model, "onnx"), target, support=False, check=data is None)
    try:
        result = convert(request, lambda _: None)
    except TrtconvError as error:
        named = any(node.op_type in error.message for node in onnx.load(model).graph.node)
        return (
            "crashed" if error.exit_code != 3 else "refused" if named else "refused, no operator named",
            error.message,
        )
    except Exception:  # noqa: BLE001 - what this benchmark looks for
        return "crashed", traceback.format_exc(limit=-2)
    if data is None:
        return ("same outputs", "") if result.checked else ("converted, not compared", result.unchecked)
    return _compared(target, data)


def _compared(target: Path, data: Any) -> tuple[str, str]:
    """By ONNX Runtime; where it has no kernel or no form for the values, by ONNX's own reference implementation."""
    outcome, text = _by_runtime(target, data)
    if outcome == "same outputs" or _by_reference(target, data):
        return ("same outputs" if outcome == "same outputs" else "same, by reference"), ""
    source = target.with_name("model.onnx")
    if _by_runtime(source, data)[0] == "same outputs" or _by_reference(source, data):
        return "wrong", text
    return "source differs too", text


def _by_runtime(model: Path, data: Any) -> tuple[str, str]:
    try:
        session = onnxruntime.session(model, optimize=False)
        names = [info.name for info in session.inputs]
        for given, wanted in data:
            if not all(isinstance(array, np.ndarray | np.generic) for array in (*given, *wanted)):
                return "no tensors", "sequences or optional values"
            got = session.run(dict(zip(names, map(np.asarray, given), strict=False)))
            if not _same(list(got.values()), list(wanted)):
                return "differs", "ONNX Runtime's result is not the expected one"
    except TrtconvError as error:
        return "does not run", error.message
    return "same outputs", ""


def _by_reference(model: Path, data: Any) -> bool:
    try:
        evaluator = ReferenceEvaluator(str(model))
        return all(
            _same(evaluator.run(None, dict(zip(evaluator.input_names, given, strict=False))), list(wanted))
            for given, wanted in data
        )
    except Exception:  # noqa: BLE001 - it lacks operators and types as well, and says so in many ways
        return False


def _same(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        return len(got) == len(wanted) and all(map(_same, got, wanted))
    if wanted is None or got is None:
        return wanted is got
    return np.shape(got) == np.shape(wanted) and _close(np.asarray(got), np.asarray(wanted))


def _close(array: np.ndarray, reference: np.ndarray) -> bool:
    if reference.dtype.kind not in "fiubcV":
        return bool(np.all(array.astype(str) == reference.astype(str)))
    return bool(
        np.allclose(array.astype(np.float64), reference.astype(np.float64), rtol=1e-3, atol=1e-5, equal_nan=True)
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--verbose", action="store_true", help="also name the models that are refused")
    return parser.parse_args()


if __name__ == "__main__":
    main()

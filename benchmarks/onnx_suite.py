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
    try:
        session = onnxruntime.session(target)
    except TrtconvError as error:
        runs = _loads(target.with_name("model.onnx"))
        return "wrong" if runs else "converted, no kernel", error.message
    names = [info.name for info in session.inputs]
    for given, wanted in data:
        if not all(isinstance(array, np.ndarray | np.generic) for array in (*given, *wanted)):
            return "converted, no tensors", ""
        try:
            got = session.run(dict(zip(names, map(np.asarray, given), strict=False)))
        except TrtconvError as error:
            return "converted, does not run", error.message
        for array, reference in zip(got.values(), wanted, strict=False):
            if array.shape != np.shape(reference) or not _close(array, np.asarray(reference)):
                return _same_as_source(target.with_name("model.onnx"), given, array)
    return "same outputs", ""


def _loads(model: Path) -> bool:
    try:
        onnxruntime.session(model, optimize=False)
    except TrtconvError:
        return False
    return True


def _same_as_source(model: Path, given: Any, array: np.ndarray) -> tuple[str, str]:
    """Whether ONNX Runtime computes the same wrong numbers from the model as it was."""
    try:
        session = onnxruntime.session(model, optimize=False)
        before = session.run(dict(zip([i.name for i in session.inputs], map(np.asarray, given), strict=False)))
    except TrtconvError:
        return "wrong", "ONNX Runtime does not run the model as it was"
    same = any(array.shape == b.shape and _close(array, b) for b in before.values())
    return ("runtime differs", "ONNX Runtime's own result differs from ONNX's") if same else ("wrong", "")


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

#!/usr/bin/env python3
"""Every operator that tf2onnx knows and every Keras layer: right, replaced or refused; tf2onnx alone beside.

Each case of ``operator_cases.py`` and ``operator_cases_layers.py`` is traced, saved, and converted twice: by trtconv's
freeze and convert, and by tf2onnx without anything around it. Both results run in ONNX Runtime on several draws of
inputs over the whole range of what may go in, and are compared with what TensorFlow computed: integers and truth values
exactly, other numbers to 1e-4 of the largest value. What trtconv's own check of a conversion says is part of the table,
and not its measure. Operators of TensorFlow Lite (``operator_cases_lite.py``) go the same way, from files that
TFLiteConverter makes, beside TensorFlow Lite's own interpreter. Operators of tf2onnx that are in no case come last.

    python scripts/operator_table.py [OPERATOR ...] [--part 2/5] [--rows FILE] [--wrong] [--markdown FILE]

It leaves with 1 if a result is wrong and nobody said so, or if trtconv refuses what tf2onnx alone converts rightly.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from operator_cases import CASES as NATIVE
from operator_cases import Case
from operator_cases_layers import CASES as LAYERS
from operator_cases_lite import CASES as LITE

from trtconv.core.records import SourceSpec
from trtconv.report.tables import table
from trtconv.sources.tflite import file

CASES = [*NATIVE, *LAYERS, *LITE]
OPSET = 17
TOLERANCE = {"float16": 5e-3, "int8": 0.02, "FakeQuant": 0.02, "ResizeBicubic": 2e-3, "LRN": 1e-3}
"""By type or start of the operator's name, where one side is no more exact: steps of a quantization and weights from a
table in TensorFlow, sums that are carried along in ONNX Runtime's LRN."""
SILENT = ("WRONG", "REFUSED WRONGLY")
"""Verdicts that nobody may get."""


def judge(case: Case, folder: Path, tell: Callable[[dict[str, str]], None]) -> dict[str, str]:
    """What becomes of a case: ``ours`` and ``bare``, each ``right``, ``wrong: ...`` or ``refused: ...``.

    Args:
        case: the use of an operator.
        folder: for files.
        tell: gets what the row is if the process ends now.
    """
    tell({"ours": "unmade: TensorFlow ends the process", "bare": "unmade"})
    import tensorflow as tf

    signature = [tf.TensorSpec(given.shape, given.dtype, name) for name, given in case.inputs.items()]
    layer = case.layer(importlib.import_module(case.keras)) if case.layer else None
    callee = tf if layer is None else layer
    if layer is not None:  # its variables are made outside of the graph
        case.call(layer, *(tf.constant(array) for array in case.draws()[0].values()))
    function = tf.function(lambda *tensors: _named(case.call(callee, *tensors)), input_signature=signature)
    if case.lite:
        return _judge_lite(case, function, folder, tell)
    draws, wanted = _computed(function, case.draws())
    if not draws:
        return {"ours": "unknown: TensorFlow runs none of the draws", "bare": "unknown"}
    module = tf.Module()
    module.call, module.layer = function, layer
    if case.keras == "keras":  # states of its random numbers are in no attribute that TensorFlow sees
        module.state = [variable.value for variable in layer.variables]
    with contextlib.redirect_stdout(io.StringIO()):
        tf.saved_model.save(module, str(folder / "model"), signatures=function)
    row = {"ops": " ".join(_operators(function.get_concrete_function().graph.as_graph_def()))}
    return _both(
        row,
        tell,
        partial(_ours, case, folder, draws, wanted),
        partial(_bare, case, function, signature, folder, draws, wanted),
    )


def _both(
    row: dict[str, str], tell: Callable[[dict[str, str]], None], ours: Callable[[], str], bare: Callable[[], str]
) -> dict[str, str]:
    tell({**row, "ours": "crash: the process ends", "bare": "unknown"})
    row["ours"] = ours()
    tell({**row, "bare": "crash: the process ends"})
    return {**row, "bare": bare()}


def _operators(graph: Any) -> list[str]:
    """Of a graph and of its functions."""
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    return sorted({node.op for node in nodes})


def _judge_lite(case: Case, function: Any, folder: Path, tell: Callable[[dict[str, str]], None]) -> dict[str, str]:
    """The same for a file of TensorFlow Lite, if the operator can be brought into one."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
    if case.lite == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([*draw.values()] for draw in case.draws())
    content, why = _converted(converter)
    if why:
        return {"ours": f"unmade: {why}", "bare": "unmade"}
    path = folder / "model.tflite"
    path.write_bytes(content)
    found = file.read(path).ops
    chosen = any(op.startswith("Flex") for op in found)
    if case.op.removeprefix("TFL_") not in found and not chosen:
        said = ", ".join(found) or "a constant"
        return {"ours": f"unmade: no option of the converter makes one of it, but {said}", "bare": "unmade"}
    row = {"ops": " ".join(f"TFL_{op}" for op in found)}
    tell({**row, "ours": "unknown: TensorFlow Lite's own interpreter ends the process", "bare": "unknown"})
    draws, wanted = _computed(function, case.draws()) if chosen else _interpreted(content, case.draws(), case.op)
    if not draws:
        return {**row, "ours": "unknown: its own interpreter runs none of the draws", "bare": "unknown"}
    return _both(
        row, tell, partial(_ours, case, folder, draws, wanted), partial(_bare_lite, case, folder, draws, wanted)
    )


def _converted(converter: Any) -> tuple[bytes, str]:
    """The file, with TensorFlow's own operators in it where TensorFlow Lite has none for these types; or why not."""
    import tensorflow as tf

    said = ""
    for chosen in ([], [tf.lite.OpsSet.SELECT_TF_OPS]):
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, *chosen]
        try:
            return converter.convert(), ""
        except Exception as error:  # noqa: BLE001 - whatever it says of what it does not take
            text = " ".join(str(error).split())
            said = (re.findall(r"error: (.*?op is neither.*? op)", text) or [text[:160]])[0]
    return b"", f"the converter takes it neither as its own nor as TensorFlow's operator: {said}"


def _interpreted(content: bytes, draws: list[dict[str, np.ndarray]], op: str) -> tuple[list[Any], list[Any]]:
    """The draws that TensorFlow Lite's interpreter takes, and what it makes of them."""
    import tensorflow as tf

    taken, wanted = [], []
    for draw in draws:
        network = _interpreter(tf.lite, content, op)
        places = {entry["name"]: entry["index"] for entry in network.get_input_details()}
        try:
            for name, place in places.items():
                network.resize_tensor_input(place, draw[name].shape)
            network.allocate_tensors()
            for name, place in places.items():
                network.set_tensor(place, draw[name])
            network.invoke()
            results = [network.get_tensor(entry["index"]) for entry in network.get_output_details()]
        except (ValueError, RuntimeError):
            continue
        taken.append({name: draw[name] for name in places})
        wanted.append(_named(results))
    return taken, wanted


def _interpreter(lite: Any, content: bytes, op: str) -> Any:
    """With the kernels that round as the format defines; they lack some, and one of them leaves out a channel."""
    kernels = lite.experimental.OpResolverType
    try:
        if op == "TFL_LOCAL_RESPONSE_NORMALIZATION":
            raise ValueError
        return lite.Interpreter(model_content=content, experimental_op_resolver_type=kernels.BUILTIN_REF)
    except ValueError:
        other = kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return lite.Interpreter(model_content=content, experimental_op_resolver_type=other)


def _named(outputs: Any) -> dict[str, Any]:
    flat = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return {f"out{position}": tensor for position, tensor in enumerate(flat)}


def _computed(function: Any, draws: list[dict[str, np.ndarray]]) -> tuple[list[Any], list[Any]]:
    """The draws that TensorFlow takes, and what it makes of them."""
    import tensorflow as tf

    taken, wanted = [], []
    for draw in draws:
        try:
            made = function(*(tf.constant(array) for array in draw.values()))
        except tf.errors.OpError:
            continue
        taken.append(draw)
        wanted.append({name: tensor.numpy() for name, tensor in made.items()})
    return taken, wanted


def _ours(case: Case, folder: Path, draws: list[Any], wanted: list[Any]) -> str:
    from trtconv.core.errors import TrtconvError
    from trtconv.stages.convert import ConvertRequest, convert
    from trtconv.stages.freeze import FreezeRequest, freeze

    frozen, model = folder / "ours.pb", folder / "ours.onnx"
    origin = folder / "model"
    try:
        if case.lite:
            frozen = origin = folder / "model.tflite"
        else:
            freeze(FreezeRequest(SourceSpec(origin), frozen), lambda _: None)
        request = ConvertRequest(SourceSpec(frozen), model, support=False, origin=origin, opset=OPSET)
        result = convert(request, lambda _: None)
    except TrtconvError as error:
        said = f"{error.message.partition(': ')[2] or error.message} | {error.hint}"
        return f"{'told' if error.exit_code == 6 else 'refused'}: {' '.join(said.split())}"
    except Exception as error:  # noqa: BLE001 - a fault to be shown in the table
        return f"crash: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    found = _compared(case, model, draws, wanted, by_order=bool(case.lite))
    return (
        found if not result.unchecked or found == "right" else f"{found} (said: not compared, {result.unchecked[:80]})"
    )


def _bare(case: Case, function: Any, signature: Any, folder: Path, draws: list[Any], wanted: list[Any]) -> str:
    import tf2onnx

    model = folder / "bare.onnx"
    try:
        tf2onnx.convert.from_function(function, signature, opset=OPSET, output_path=str(model))
    except BaseException as error:  # noqa: BLE001 - it ends the process for some failures
        return f"refused: {' '.join(str(error).split())[:120] or type(error).__name__}"
    return _compared(case, model, draws, wanted, by_order=True)


def _bare_lite(case: Case, folder: Path, draws: list[Any], wanted: list[Any]) -> str:
    import tf2onnx

    model = folder / "bare.onnx"
    try:
        tf2onnx.convert.from_tflite(str(folder / "model.tflite"), opset=OPSET, output_path=str(model))
    except BaseException as error:  # noqa: BLE001 - it ends the process for some failures
        return f"refused: {' '.join(str(error).split())[:120] or type(error).__name__}"
    return _compared(case, model, draws, wanted, by_order=True)


def _compared(case: Case, model: Path, draws: list[Any], wanted: list[Any], *, by_order: bool = False) -> str:
    """Run a model in ONNX Runtime on all draws."""
    import onnx
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    try:
        session: Any = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        inputs, outputs = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
    except Exception as error:  # noqa: BLE001 - its own kinds of error, which share no base class
        try:
            onnx.checker.check_model(str(model))
            session = ReferenceEvaluator(str(model))  # what ONNX Runtime lacks may still be right
            inputs, outputs = session.input_names, session.output_names
        except Exception:  # noqa: BLE001
            return f"unloadable: {' '.join(str(error).split())[:160]}"
    names = {name.partition(":")[0]: name for name in inputs}
    for number, (draw, reference) in enumerate(zip(draws, wanted, strict=True)):
        try:
            made = session.run(outputs, {names[name]: array for name, array in draw.items() if name in names})
        except Exception as error:  # noqa: BLE001
            return f"fails: draw {number}: {' '.join(str(error).split())[-160:]}"
        got = dict(zip(sorted(reference) if by_order else outputs, made, strict=True))
        for name, array in reference.items():
            kind = "int8" if case.lite == "int8" else case.op
            if said := difference(array, got[name], kind, shapes_only=case.random):
                return f"wrong: draw {number}, {name}: {said}"
    return "right"


def difference(wanted: np.ndarray, got: np.ndarray, op: str = "", *, shapes_only: bool = False) -> str:
    """How a result differs; empty when it does not."""
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        return f"{got.dtype} {list(got.shape)} instead of {wanted.dtype} {list(wanted.shape)}"
    if shapes_only or not wanted.size:
        return ""
    if wanted.dtype.kind in "iub":
        wrong = np.flatnonzero(wanted != got)
        return f"{got.flat[wrong[0]]} instead of {wanted.flat[wrong[0]]}" if wrong.size else ""
    infinite = np.isinf(wanted)
    if np.any(infinite & (got != wanted)):
        return f"{got[infinite & (got != wanted)].flat[0]} instead of infinity"
    finite = np.isfinite(wanted)
    if not np.isfinite(got[finite]).all():
        return "not finite"
    if not finite.any():
        return ""
    peak = np.abs(wanted[finite].astype(np.float64)).max()
    largest = np.abs(got[finite].astype(np.float64) - wanted[finite]).max()
    allowed = max(
        [1e-4, *(bound for key, bound in TOLERANCE.items() if key == str(wanted.dtype) or op.startswith(key))]
    )
    return "" if largest <= allowed * peak else f"off by {largest / (peak or 1):.2g}"


def verdict(row: dict[str, str]) -> str:
    """One word for a row."""
    ours, bare = (row[key].partition(":")[0] for key in ("ours", "bare"))
    if ours == "right":
        return "right" if bare == "right" else "replaced"
    if ours in ("refused", "crash", "told"):
        return "REFUSED WRONGLY" if bare == "right" or ours == "crash" else "refused" if ours == "refused" else "told"
    if ours in ("unknown", "unmade"):
        return ours
    return "not compared" if "said: not compared" in row["ours"] else "WRONG"


def work(rest: Path) -> None:
    """A worker: reads names of cases, writes rows; one that crashes leaves its row in a file."""
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="-1")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from trtconv.adapters import tensorflow as framework

    def tell(row: dict[str, str]) -> None:
        rest.write_text(json.dumps(row))

    framework.load()
    table_of = {case.name: case for case in CASES}
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = judge(table_of[line.strip()], Path(folder), tell)
            except Exception as error:  # noqa: BLE001 - the case itself is at fault
                row = {"ours": f"unknown: {type(error).__name__}: {str(error)[:200]}", "bare": "unknown"}
        print(json.dumps(row), file=answers, flush=True)


def kept(cases: Sequence[Case], rows: Path | None) -> Iterator[tuple[Case, dict[str, str]]]:
    """Rows of all cases: those that a file has already, then the others, which are added to it as they come."""
    known = {}
    if rows is not None and rows.exists():
        known = {row.pop("case"): row for row in map(json.loads, rows.read_text().splitlines())}
    yield from ((case, known[case.name]) for case in cases if case.name in known)
    rest = [case for case in cases if case.name not in known]
    begun = time.monotonic()
    for number, (case, row) in enumerate(judged(rest), 1):
        if rows is not None:
            with rows.open("a") as out:
                print(json.dumps({"case": case.name, **row}), file=out)
        _progress(number, len(rest), time.monotonic() - begun)
        yield case, row


def _progress(number: int, count: int, passed: float) -> None:
    """One line that is written over on a terminal; elsewhere one in fifty."""
    said = f"{number} of {count} cases in {passed:.0f} s, about {passed / number * (count - number):.0f} s more"
    if sys.stderr.isatty():
        print(f"\r{said:<60}", end="" if number < count else "\n", file=sys.stderr, flush=True)
    elif number % 50 == 0 or number == count:
        print(said, file=sys.stderr, flush=True)


def part_of(cases: Sequence[Case], part: str) -> Sequence[Case]:
    """Every fifth case for ``2/5``, from the second one on; all for an empty text."""
    number, _, count = part.partition("/")
    return cases[int(number) - 1 :: int(count)] if part else cases


def judged(cases: Iterable[Case]) -> Iterator[tuple[Case, dict[str, str]]]:
    """Rows of all cases, from workers that are replaced when they die."""
    worker, legacy = None, False
    rest = Path(tempfile.mkdtemp()) / "row.json"
    for position, case in enumerate(cases):
        legacy, before = case.keras == "tf_keras", legacy
        if worker is not None and (position % 60 == 0 or legacy != before):  # memory of TensorFlow's graphs piles up
            worker.stdin.close()
            worker.wait()
            worker = None
        if worker is None:
            worker = subprocess.Popen(
                [sys.executable, __file__, "--work", str(rest)],
                stdin=subprocess.PIPE,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TF_USE_LEGACY_KERAS": str(int(legacy))},
            )
        worker.stdin.write(case.name + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
        if not line:
            worker.wait()
            yield case, json.loads(rest.read_text())
            worker = None
            continue
        yield case, json.loads(line)
    if worker is not None:
        worker.stdin.close()
        worker.wait()


def _handled() -> set[str]:
    """Operators that tf2onnx has a handler for."""
    from trtconv.adapters import tensorflow as framework

    framework.load()
    from tf2onnx import handler, tflite_handlers  # noqa: F401 - they enter themselves into the table

    tables = handler.tf_op.get_opsets().values()
    return {name for table in tables for version in table for name in version}


def main() -> None:
    """Judge the cases, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("operators", nargs="*", metavar="OPERATOR", help="of TensorFlow, or a case (default: all)")
    parser.add_argument("--wrong", action="store_true", help="print only what is not right")
    parser.add_argument("--part", default="", help="such as 2/5: only that part of the cases")
    parser.add_argument("--rows", type=Path, help="file that keeps rows: those in it are not judged again")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    wanted = [c for c in CASES if not options.operators or {c.op, c.name} & set(options.operators)]
    rows, seen = [], set()
    for case, row in kept(part_of(wanted, options.part), options.rows):
        word = verdict(row)
        rows.append([case.name, word, row["ours"], row["bare"]])
        seen.update(row.get("ops", "").split(), [case.op] if word not in ("unmade", "unknown") else [])
        if not (options.wrong and word in ("right", "replaced")):
            print(f"{case.name}: {word}: {row['ours'][:300]} || {row['bare'][:200]}", flush=True)
    header = ["operator", "verdict", "trtconv", "tf2onnx alone"]
    if options.markdown:
        lines = [header, ["---"] * 4, *rows]
        options.markdown.write_text("".join(f"| {' | '.join(cell.replace('|', '/') for cell in r)} |\n" for r in lines))
    count = Counter(row[1] for row in rows)
    print(table(["verdict", "cases"], [[word, str(number)] for word, number in count.most_common()], "lr"))
    if not options.operators and not options.part:
        print(f"operators of tf2onnx that are in no case: {', '.join(sorted(_handled() - seen)) or 'none'}")
    sys.exit(any(count[word] for word in SILENT))


if __name__ == "__main__":
    main()

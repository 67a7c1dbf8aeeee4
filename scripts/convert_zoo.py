#!/usr/bin/env python3
"""One table of models from every source: what they convert to, at what cost, how close, and whether they build.

Each model of ``convert_models.py`` is made with a fixed seed and goes through the front door: ``trtconv convert``,
then ``trtconv build`` for TensorRT-RTX, each a command in a process of its own. Errors are measured here, and not taken
from trtconv: what TensorFlow computed before the model was saved, against ONNX Runtime on the file that was written.

    python scripts/convert_zoo.py [MODEL ...] [--missing] [--table] [--markdown FILE]

Results stay in build/convert-zoo, one file per model; models and engines do not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import numpy as np
from convert_models import ZOO, Model
from process_memory import Watched, watch

from trtconv.core.units import format_bytes
from trtconv.report.tables import table

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "build" / "convert-zoo"
HEADER = ("model", "source", "opset", "nodes", "s", "peak memory", "max rel error", "transposes", "parser", "builder")
TAKEN = "takes all"
_OWN_CACHE = {"TRTCONV_CACHE": "off"}


@dataclass(frozen=True)
class Row:
    """What became of one model.

    Attributes:
        name: of the model.
        missed: what it should have done and did not; empty when all is well.
        opset: of the ONNX model.
        nodes: in it.
        seconds: wall time of ``trtconv convert``, its own comparison and the question to the parser included.
        peak: memory of that command and all its processes, in bytes.
        error: largest difference over largest value, the worst of all outputs.
        transposes: between channels first and last, left in the model.
        parser: what trtconv said of TensorRT's parser.
        builder: what became of ``trtconv build``.
    """

    name: str
    missed: tuple[str, ...] = ()
    opset: int = 0
    nodes: int = 0
    seconds: float = 0.0
    peak: int = 0
    error: float = float("inf")
    transposes: int = 0
    parser: str = ""
    builder: str = ""


def judge(name: str, model: Model, folder: Path) -> Row:
    """Make a model, convert it, build it, and say what was missed."""
    made = watch([sys.executable, str(HERE / "convert_models.py"), name, str(folder)])
    if made.code != 0:
        return Row(name, (f"could not be made: {made.said[-500:]}",))
    target = folder / "converted.onnx"
    run = trtconv("convert", str(folder / model.source), "-o", str(target), *model.options)
    if run.code != 0:
        return Row(name, (f"convert: {_problem(run)}",), seconds=run.seconds, peak=run.peak)
    (result,) = (step["result"] for step in json.loads(run.out)["steps"] if step["stage"] == "convert")
    error = largest_error(folder / "observed.npz", target)
    refused, builder = "; ".join(result["refused"]), build(target, model.shapes)
    missed = [f"error {error:.2g} is over {model.bound:.0e}"] if not error <= model.bound else []
    missed += [f"builder: {builder}"] if not _expected(model, refused, builder) else []
    return Row(
        name,
        tuple(missed),
        result["opset"],
        result["nodes_after"],
        run.seconds,
        run.peak,
        error,
        result["transposes"],
        refused or TAKEN,
        builder,
    )


def trtconv(*arguments: str) -> Watched:
    """Run the command line, its cache of results switched off."""
    return watch([sys.executable, "-m", "trtconv", *arguments, "--json"], _OWN_CACHE)


def _problem(run: Watched) -> str:
    """The message of the step that failed, else the end of what was said."""
    try:
        (problem,) = json.loads(run.out)["errors"].values()
        return " ".join(problem["message"].split())
    except (ValueError, KeyError):
        return " ".join(run.said.split())[-500:]


def build(model: Path, shapes: str) -> str:
    """``builds in 1.2 s``, or why not."""
    given = ("--shapes", shapes) if shapes else ()
    run = trtconv("build", str(model), "-o", str(model.with_suffix(".engine")), "--backend", "rtx", *given)
    return f"builds in {run.seconds:.1f} s" if run.code == 0 else _problem(run)


def _expected(model: Model, refused: str, builder: str) -> bool:
    """Whether the engine builds; where it cannot, both convert and build have to name the operator."""
    if builder.startswith("builds"):
        return not refused
    return bool(model.unsupported) and model.unsupported in refused and model.unsupported in builder


def largest_error(observed: Path, model: Path) -> float:
    """TensorFlow's outputs against ONNX Runtime's, the largest difference over the largest value."""
    import onnxruntime

    with np.load(observed) as stored:
        arrays = dict(stored)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]
    given = {key[3:]: array for key, array in arrays.items() if key.startswith("in.")}
    if len(inputs) == 1:  # the only one may go by another name in the file
        given = dict(zip(inputs, given.values(), strict=True))
    got = dict(zip([value.name for value in session.get_outputs()], session.run(None, given), strict=True))
    wanted = {key[4:]: array for key, array in arrays.items() if key.startswith("out.")}
    if len(wanted) == 1:
        wanted = dict(zip(got, wanted.values(), strict=True))
    return max(_difference(got[name], reference) for name, reference in wanted.items())


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    exact = wanted.astype(np.float64)
    return float(np.abs(got - exact).max() / np.abs(exact).max())


def text(rows: list[Row]) -> list[list[str]]:
    """Cells of the table; where something is refused, the reason is told by ``reasons``."""
    return [
        [
            row.name,
            ZOO[row.name].form,
            str(row.opset),
            str(row.nodes),
            f"{row.seconds:.1f}",
            format_bytes(row.peak),
            f"{row.error:.1e}",
            str(row.transposes),
            row.parser if row.parser == TAKEN else "refuses",
            row.builder if row.builder.startswith("builds") else "refuses",
        ]
        for row in rows
    ]


def reasons(rows: list[Row]) -> list[str]:
    """What was refused, and why."""
    said = [(row, row.parser) for row in rows if row.parser != TAKEN]
    said += [(row, row.builder) for row in rows if not row.builder.startswith("builds")]
    return [f"{row.name}: {why}" for row, why in said if why]


def collected() -> list[Row]:
    """The results so far, in the order of the zoo."""
    files = [FOLDER / f"{name}.json" for name in ZOO]
    return [Row(**_read(file)) for file in files if file.exists()]


def _read(file: Path) -> dict[str, Any]:
    facts = json.loads(file.read_text())
    return {**facts, "missed": tuple(facts["missed"])}


def main() -> None:
    """Judge the models, print the table, and leave with 1 if anything was missed."""
    options = _options()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in _wanted(options):
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            row = judge(name, ZOO[name], Path(folder))
            if options.keep:
                shutil.copytree(folder, FOLDER / name, dirs_exist_ok=True)
        (FOLDER / f"{name}.json").write_text(json.dumps(asdict(row)))
        print(f"{name}: {'; '.join(row.missed) or 'ok'}", flush=True)
    rows = collected()
    shown = rows if options.table or not options.models else [row for row in rows if row.name in options.models]
    print(table(list(HEADER), text(shown), "llrrrrrrll"))
    print("\n".join(reasons(shown)))
    if options.markdown:
        lines = [HEADER, ["---"] * len(HEADER), *text(shown)]
        options.markdown.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    missed = [f"{row.name}: {why}" for row in shown for why in row.missed]
    print("\n".join(missed) or f"{len(shown)} models, nothing missed")
    sys.exit(bool(missed))


def _wanted(options: argparse.Namespace) -> list[str]:
    """The models to judge now."""
    if options.table:
        return list(options.models)
    names = options.models or list(ZOO)
    return [name for name in names if not (options.missing and (FOLDER / f"{name}.json").exists())]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(ZOO)} (default: all)")
    parser.add_argument("--missing", action="store_true", help="only those without a result: go on where it stopped")
    parser.add_argument("--table", action="store_true", help="print all results that there are")
    parser.add_argument("--keep", action="store_true", help="keep models and engines beside the results")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    unknown = [name for name in options.models if name not in ZOO]
    if unknown:
        parser.error(f"no model {unknown[0]!r}; there are {', '.join(ZOO)}")
    return options


if __name__ == "__main__":
    main()

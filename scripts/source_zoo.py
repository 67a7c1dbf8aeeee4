#!/usr/bin/env python3
"""One table of models from Caffe, Paddle, network scripts and PyTorch: cost, error, whether TensorRT-RTX builds them.

Each model is made with a fixed seed, or is a file of others with its own weights, and goes through the front door:
``trtconv convert``, then ``trtconv build`` in FP32 and FP16 for TensorRT-RTX, each a command in a process of its own.
Errors are measured here, and not taken from trtconv: what the source's own framework computed against ONNX Runtime on
the file that was written.

    python scripts/source_zoo.py [MODEL ...] [--python opencv=/path/to/python] [--files FOLDER] [--no-build] [--table]

Rows are in source_zoo_SOURCE.py. Results stay in build/source-zoo, one file per model; models and engines do not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import numpy as np
from process_memory import Watched, watch
from source_zoo_models import Made, Missing, Model, Tools

from trtconv.core.units import format_bytes
from trtconv.report.tables import table

HERE = Path(__file__).resolve().parent
SOURCES = ("caffe", "paddle", "network", "pytorch")
FOLDER = HERE.parent / "build" / "source-zoo"
PRECISIONS = ("fp32", "fp16")
HEADER = ("model", "source", "layers", "nodes", "s", "peak memory", "max error", "fp32", "fp16", "cut")


def zoo() -> dict[str, tuple[str, Model]]:
    """All rows, by name, each with its source."""
    found: dict[str, tuple[str, Model]] = {}
    for source in SOURCES:
        for name, model in _rows(source).items():
            if name in found:
                raise ValueError(f"two rows are called {name}: of {found[name][0]} and of {source}")
            found[name] = (source, model)
    return found


def _rows(source: str) -> Mapping[str, Model]:
    if not (HERE / f"source_zoo_{source}.py").exists():
        return {}
    rows: Mapping[str, Model] = importlib.import_module(f"source_zoo_{source}").MODELS
    return rows


@dataclass(frozen=True)
class Row:
    """What became of one model.

    Attributes:
        name: of the model.
        source: what it came from.
        missed: what it should have done and did not.
        left: why it was not tried, or not compared.
        layers: of the source.
        nodes: of the ONNX model.
        seconds: wall time of ``trtconv convert``, its own comparison and the question to the parser included.
        peak: memory of that command and all its processes, in bytes.
        error: largest difference over largest value, the worst of all outputs and samples; negative: not measured.
        samples: sets of inputs that were compared.
        built: per precision, ``builds in 3.1 s``, ``in parts: ...`` and why not whole, or why not.
        cut: where the model was cut.
    """

    name: str
    source: str
    missed: tuple[str, ...] = ()
    left: str = ""
    layers: int = 0
    nodes: int = 0
    seconds: float = 0.0
    peak: int = 0
    error: float = -1.0
    samples: int = 0
    built: dict[str, str] = field(default_factory=dict)
    cut: str = ""


def judge(name: str, source: str, model: Model, folder: Path, options: argparse.Namespace) -> Row:
    """Make a model, convert it, build it, and say what was missed."""
    try:
        made = model.make(folder, Tools(dict(options.python), options.files))
    except Missing as why:
        return Row(name, source, left=str(why))
    target = folder / "converted.onnx"
    run = trtconv(made, "convert", *made.arguments, "-o", str(target))
    if run.code != 0:
        return Row(name, source, (f"convert: {_problem(run)}",), layers=made.layers, seconds=run.seconds, peak=run.peak)
    (result,) = (step["result"] for step in json.loads(run.out)["steps"] if step["stage"] == "convert")
    error = max((largest_error(file, target, model.absolute) for file in made.observed), default=-1.0)
    asked = {} if options.no_build else made.precisions
    built = {column: build(made, target, name, bool(model.unsupported)) for column, name in asked.items()}
    return Row(
        name,
        source,
        tuple(_missed(model, run, error, result["refused"], built)),
        made.unobserved,
        made.layers,
        result["nodes_after"],
        run.seconds,
        run.peak,
        error,
        len(made.observed),
        built,
        made.cut,
    )


def _missed(model: Model, run: Watched, error: float, refused: list[str], built: Mapping[str, str]) -> Iterator[str]:
    if error > model.bound:
        yield f"error {error:.2g} is over {model.bound:.0e}"
    if model.memory and run.peak > model.memory:
        yield f"converting took {format_bytes(run.peak)}, {format_bytes(model.memory)} are allowed"
    for precision, said in built.items():
        named = model.unsupported and model.unsupported in " ".join(refused) and model.unsupported in said
        if not said.startswith("builds") and not (named and said.startswith("in parts")):
            yield f"{precision}: {said}"


def trtconv(made: Made, *arguments: str) -> Watched:
    """Run the command line, its cache of results switched off."""
    return watch([sys.executable, "-m", "trtconv", *arguments, "--json"], {"TRTCONV_CACHE": "off", **made.env})


def _problem(run: Watched) -> str:
    """The message of the step that failed, else the end of what was said."""
    try:
        (problem,) = json.loads(run.out)["errors"].values()
        return " ".join(problem["message"].split())[:400]
    except (ValueError, KeyError):
        return " ".join(run.said.split())[-500:]


def build(made: Made, model: Path, precision: str, parts: bool) -> str:
    """``builds in 1.2 s``, or why not, with ``parts`` also what becomes of it with a fallback."""
    engine = model.with_name(f"{precision}.engine")
    shapes = [part for one in made.shapes.split() for part in ("--shapes", one)]
    given = ["build", str(model), "--backend", "rtx", "--precision", precision, *shapes]
    run = trtconv(made, *given, "-o", str(engine))
    if run.code:
        return f"{in_parts(made, engine, given)}{_problem(run)}" if parts else _problem(run)
    size = engine.stat().st_size
    engine.unlink()
    return f"builds in {run.seconds:.1f} s, {format_bytes(size)}"


def in_parts(made: Made, engine: Path, given: list[str]) -> str:
    """``in parts: engines: 1 with ...; ``: what engines take, ONNX Runtime the rest; empty if that fails too."""
    folder = engine.with_suffix(".parts")
    run = trtconv(made, *given, "--on-refusal", "onnxruntime", "-o", str(folder))
    if run.code:
        return ""
    (result,) = (step["result"] for step in json.loads(run.out)["steps"] if step["stage"] == "build")
    shutil.rmtree(folder)
    return f"in parts: {result['proof']['by'].partition('(')[2].rstrip(')')}; whole: "


def largest_error(observed: Path, model: Path, absolute: bool) -> float:
    """The framework's outputs against ONNX Runtime's: the largest difference, over the largest value."""
    import onnxruntime

    with np.load(observed) as stored:
        arrays = dict(stored)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    given = {key[3:]: array for key, array in arrays.items() if key.startswith("in.")}
    wanted = {key[4:]: array for key, array in arrays.items() if key.startswith("out.")}
    taken = {value.name: given[value.name] for value in session.get_inputs()}
    got = dict(zip([value.name for value in session.get_outputs()], session.run(None, taken), strict=True))
    return max(_difference(got[name], reference, absolute) for name, reference in wanted.items())


def _difference(got: np.ndarray, wanted: np.ndarray, absolute: bool) -> float:
    if got.shape != wanted.shape or not np.isfinite(wanted).all():
        return float("inf")
    exact = wanted.astype(np.float64)
    return float(np.abs(got - exact).max()) / (1 if absolute else max(float(np.abs(exact).max()), 1e-30))


def text(rows: list[Row]) -> list[list[str]]:
    """Cells of the table; reasons stand below it."""
    return [
        [
            row.name,
            row.source,
            str(row.layers or "-"),
            str(row.nodes or "-"),
            f"{row.seconds:.1f}" if row.seconds else "-",
            format_bytes(row.peak) if row.peak else "-",
            f"{row.error:.1e}" if row.error >= 0 else "not compared" if row.nodes else "-",
            *(_short(row.built.get(precision, "-")) for precision in PRECISIONS),
            row.cut or "-",
        ]
        for row in rows
    ]


def _short(built: str) -> str:
    if built.startswith("builds"):
        return built.partition(", ")[2]
    return built if built == "-" else "in parts" if built.startswith("in parts") else "refuses"


def remarks(rows: list[Row]) -> list[str]:
    """What was left out or refused, and why."""
    said = [f"{row.name}: {row.left}" for row in rows if row.left]
    refusals = [(row.name, why) for row in rows for why in dict.fromkeys(row.built.values())]
    return said + [f"{name}: {why}" for name, why in refusals if not why.startswith("builds")]


def collected(names: list[str], folder: Path) -> list[Row]:
    """The results so far."""
    files = [folder / f"{name}.json" for name in names]
    return [_read(json.loads(file.read_text())) for file in files if file.exists()]


def _read(facts: dict[str, Any]) -> Row:
    return Row(**{**facts, "missed": tuple(facts["missed"])})


def main() -> None:
    """Judge the models, print the table, and leave with 1 if anything was missed."""
    models = zoo()
    options = _options(models)
    results: Path = options.results
    results.mkdir(parents=True, exist_ok=True)
    names = [name for name in options.models or models if not options.source or models[name][0] in options.source]
    for name in [] if options.table else names:
        if options.missing and (results / f"{name}.json").exists():
            continue
        with tempfile.TemporaryDirectory(dir=results) as folder:
            row = judge(name, *models[name], Path(folder), options)
            if options.keep:
                shutil.copytree(folder, results / name, dirs_exist_ok=True)
        (results / f"{name}.json").write_text(json.dumps(asdict(row)))
        print(f"{name}: {'; '.join(row.missed) or row.left or 'ok'}", flush=True)
    rows = collected(names, results)
    print(table(list(HEADER), text(rows), "llrrrrrrrl"))
    print("\n".join(remarks(rows)))
    if options.markdown:
        lines = [HEADER, ["---"] * len(HEADER), *text(rows)]
        options.markdown.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    missed = [f"{row.name}: {why}" for row in rows for why in row.missed]
    untried = sum(not row.nodes and not row.missed for row in rows)
    print(
        "\n".join(missed)
        or f"{len(rows) - untried} models, nothing missed" + (f", {untried} left out" if untried else "")
    )
    sys.exit(bool(missed))


def _options(models: Mapping[str, Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(models)} (default: all)")
    parser.add_argument("--source", action="append", choices=SOURCES, help="only models of this source; repeatable")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        type=_named,
        help="an interpreter that has a framework: opencv, paddle, torch; repeatable",
    )
    parser.add_argument("--files", type=Path, default=Tools.files, help="folder of models that others made")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--no-build", action="store_true", help="convert and compare only")
    parser.add_argument("--missing", action="store_true", help="only those without a result: go on where it stopped")
    parser.add_argument("--table", action="store_true", help="print the results that there are")
    parser.add_argument("--keep", action="store_true", help="keep the models beside the results")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    unknown = [name for name in options.models if name not in models]
    if unknown:
        parser.error(f"no model {unknown[0]!r}; there are {', '.join(models)}")
    return options


def _named(text: str) -> tuple[str, str]:
    name, mark, python = text.partition("=")
    if not mark or not Path(python).exists():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=PATH of an interpreter")
    return name, python


if __name__ == "__main__":
    main()

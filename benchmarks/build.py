#!/usr/bin/env python3
"""What trtconv adds to a build and to lowering, on a CPU: beside the bare builder, and beside onnx alone.

Two networks with seeded random weights: ResNet50 (51 MB in FP16) and VGG16 (553 MB in FP32). ``trtconv build`` of a
typed model runs beside a Python that parses, builds and writes with the same TensorRT-RTX; ``trtconv lower`` to FP16,
of a model as ``trtconv convert`` writes it, beside a Python that loads it with onnx and saves it. Programs take turns;
figures are medians over the rounds, memory is the largest sum of resident memory over a process and all below it. Ends
with 1 where a bound is missed.

    python benchmarks/build.py [--rounds 3] [--only build|lower] [--models ResNet50,VGG16] [--cpu]

With ``--against CHECKOUT`` lowering is compared with that version of trtconv too, at most 1.3 times its time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import resnet50
from onnx import TensorProto, helper, numpy_helper
from process_memory import Watched, watch

from trtconv.report.tables import table

HERE = Path(__file__).resolve().parent

_BUILD = """
import sys, tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
assert parser.parse_from_file(sys.argv[1])
config = builder.create_builder_config()
profile = builder.create_optimization_profile()
shape = tuple(network.get_input(0).shape)[1:]
profile.set_shape(network.get_input(0).name, (1, *shape), (8, *shape), (32, *shape))
config.add_optimization_profile(profile)
plan = builder.build_serialized_network(network, config)
with open(sys.argv[2], "wb") as out:
    out.write(plan)
"""
_SAVE = "import sys, onnx; onnx.save(onnx.load(sys.argv[1]), sys.argv[2])"

SECONDS_MORE = 0.6
"""Of a small model: what trtconv may take beyond the bare program."""

RATIO = 1.1
"""Of a large model: times the bare program's time; of both: times its memory."""

AS_BEFORE = 1.3
"""Times the time of another version."""

_LARGE = 400e6  # bytes


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    ours: Sequence[Watched]
    bare: Sequence[Watched]
    large: bool

    def verdicts(self, cpu: bool) -> tuple[str, str, bool]:
        """Of time and of memory, in words, and whether both hold."""
        (a, b), (x, y) = (_middle(runs, cpu) for runs in (self.ours, self.bare))
        limit = RATIO * x if self.large else x + SECONDS_MORE
        asked = f"{RATIO:g} times" if self.large else f"{SECONDS_MORE:g} s more"
        time = f"{a - x:+.2f} s, {a / x:.2f} times; at most {asked}: {_word(a <= limit)}"
        memory = f"{b / y:.2f} times; at most {RATIO:g}: {_word(b <= RATIO * y)}"
        return time, memory, a <= limit and b <= RATIO * y


def main() -> int:
    """Measure, print, judge."""
    options = _options()
    kept = True
    with tempfile.TemporaryDirectory(prefix="trtconv-bench-", dir=options.folder) as name:
        folder = Path(name)
        for model in options.models.split(","):
            rows = [one for one in _MEASURED if options.only in ("", one)]
            for kind in rows:
                kept &= _MEASURED[kind](folder, model, options)
    return 0 if kept else 1


def build(folder: Path, model: str, options: argparse.Namespace) -> bool:
    """``trtconv build`` of a typed model."""
    source, engine = MODELS[model](folder, typed=True), folder / "made.engine"
    commands = {
        "trtconv": [sys.executable, "-m", "trtconv", "build", str(source), "-o", str(engine), "--quiet"],
        "bare": [sys.executable, "-c", _BUILD, str(source), str(engine)],
    }
    return _report(f"build {model}", source, _rounds(folder, commands, options.rounds), options)


def lower(folder: Path, model: str, options: argparse.Namespace) -> bool:
    """``trtconv lower`` to FP16."""
    source, typed = _converted(MODELS[model](folder, typed=False)), folder / "made.onnx"
    ours = [sys.executable, "-m", "trtconv", "lower", str(source), "-o", str(typed), "--precision", "fp16", "--quiet"]
    commands = {"trtconv": ours, "bare": [sys.executable, "-c", _SAVE, str(source), str(typed)]}
    commands |= {"before": ours} if options.against else {}
    runs = _rounds(folder, commands, options.rounds, options.against)
    kept = _report(f"lower {model}", source, runs, options)
    if options.against:
        ratio = _middle(runs["trtconv"], options.cpu)[0] / _middle(runs["before"], options.cpu)[0]
        print(
            f"lower {model}: {ratio:.2f} times {options.against}; at most {AS_BEFORE:g}: {_word(ratio <= AS_BEFORE)}\n"
        )
        kept &= ratio <= AS_BEFORE
    return kept


_MEASURED = {"build": build, "lower": lower}


def _report(name: str, source: Path, runs: Mapping[str, Sequence[Watched]], options: argparse.Namespace) -> bool:
    row = Row(name, runs["trtconv"], runs["bare"], source.stat().st_size > _LARGE)
    lines = [
        [name if number == 0 else "", who, *(f"{median(f(r) for r in each):.2f} {unit}" for f, unit in _COLUMNS)]
        for number, (who, each) in enumerate(runs.items())
    ]
    print(table([f"{source.stat().st_size / 1e6:.0f} MB", "", "wall", "CPU", "peak memory"], lines, "llrrr"))
    time, memory, kept = row.verdicts(options.cpu)
    print(f"{'CPU time' if options.cpu else 'time'}: {time}\nmemory: {memory}\n", flush=True)
    return kept


_COLUMNS = ((lambda run: run.seconds, "s"), (lambda run: run.cpu, "s"), (lambda run: run.peak / 1e9, "GB"))


def _middle(runs: Sequence[Watched], cpu: bool) -> tuple[float, float]:
    return median(run.cpu if cpu else run.seconds for run in runs), median(run.peak for run in runs)


def _word(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def _rounds(
    folder: Path, commands: Mapping[str, Sequence[str]], rounds: int, against: Path | None = None
) -> dict[str, list[Watched]]:
    """Every command once to compile and to fill the disk's cache, then in turns."""
    found: dict[str, list[Watched]] = {who: [] for who in commands}
    for number in range(rounds + 1):
        for who, command in commands.items():
            checkout = against if who == "before" else HERE.parent
            done = _run(folder, who, command, checkout or HERE.parent)
            found[who] += [done] if number else []
    return found


def _run(folder: Path, who: str, command: Sequence[str], checkout: Path) -> Watched:
    """Figures of a command with nothing stored from before; a failure ends the benchmark."""
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    env = {
        "TRTCONV_CACHE": str(store),
        "PYTHONPATH": os.pathsep.join([str(checkout.resolve()), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "PYTHONPYCACHEPREFIX": str(folder / f"compiled-{who}"),
        "PYTHONDONTWRITEBYTECODE": "",  # compiled modules, as after an installation
    }
    done = watch(command, env)
    if done.code != 0:
        sys.exit(f"{' '.join(command[:6])} ended with {done.code}:\n{(done.out + done.said)[-2000:]}")
    for path in folder.glob("made.*"):
        path.unlink()
    return done


def _converted(path: Path) -> Path:
    """The model as convert writes it."""
    made = path.with_suffix(".converted.onnx")
    if not made.exists():
        command = [sys.executable, "-m", "trtconv", "convert", str(path), "-o", str(made), "--quiet", "--no-check"]
        done = watch(command, {"PYTHONPATH": str(HERE.parent), "TRTCONV_CACHE": str(path.parent / "store")})
        if done.code != 0:
            sys.exit(f"convert ended with {done.code}:\n{done.said[-2000:]}")
    return made


def _resnet50(folder: Path, *, typed: bool) -> Path:
    """In FP16 as ``lower`` makes it, or the same network in FP32."""
    path = folder / "resnet50.fp16.onnx"
    if not path.exists():
        resnet50.write(path)
    if typed:
        return path
    single = folder / "resnet50.onnx"
    if not single.exists():
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
        for node in model.graph.node:
            if node.op_type == "Cast":
                node.op_type = "Identity"
                del node.attribute[:]
        onnx.save(model, single)
    return single


def _vgg16(folder: Path, *, typed: bool) -> Path:
    """In FP32, which is typed already: Simonyan and Zisserman 2014, table 1, column D."""
    path = folder / "vgg16.onnx"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(name: str, shape: tuple[int, ...], fan_in: int) -> str:
        values = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
        weights.append(numpy_helper.from_array(values, name))
        return name

    last, channels = "x", 3
    for stage, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        for number in range(count):
            name = f"conv{stage}{number}"
            given = [last, weight(f"{name}.w", (width, channels, 3, 3), 9 * channels), weight(f"{name}.b", (width,), 9)]
            last, channels = node("Relu", [node("Conv", given, name, pads=[1] * 4)], f"{name}.relu"), width
        last = node("MaxPool", [last], f"pool{stage}", kernel_shape=[2, 2], strides=[2, 2])
    last, features = node("Flatten", [last], "flat"), channels * 49
    for width in (4096, 4096, 1000):
        name = f"fc{len(nodes)}"
        given = [last, weight(f"{name}.w", (features, width), features), weight(f"{name}.b", (width,), features)]
        last, features = node("Gemm", given, name), width
        last = node("Relu", [last], f"{name}.relu") if width == 4096 else last
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 224, 224])
    y = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", 1000])
    graph = helper.make_graph(nodes, "vgg16", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


MODELS = {"ResNet50": _resnet50, "VGG16": _vgg16}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program (%(default)s)")
    parser.add_argument("--only", choices=tuple(_MEASURED), default="", help="leave the other out")
    parser.add_argument("--models", default=",".join(MODELS), help="networks (%(default)s)")
    parser.add_argument("--cpu", action="store_true", help="judge processor time, where the machine has other work")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another version of trtconv, for lower")
    parser.add_argument("--folder", type=Path, help="for the models (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

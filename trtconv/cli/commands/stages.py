"""The stages that make files, on a job or on a model and options. An option is a row that names its key of the job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from trtconv.cli import emit_job
from trtconv.cli.custom_layers import parse_files, parse_plugins
from trtconv.cli.options import (
    existing,
    is_job,
    job_options,
    only_job,
    only_model,
    output_options,
    parse_axes,
    parse_constants,
    parse_profile,
    parse_shape,
)
from trtconv.core.errors import UsageError


def _as_given(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class _Option:
    """One option.

    Attributes:
        spelling: such as ``--opset``.
        key: of the job, dotted; several options may fill one mapping. Empty: it is none of the job's.
        settings: for click.
        value: turns what click gives into the key's value.
    """

    spelling: str
    key: str
    settings: Mapping[str, Any]
    value: Callable[[Any], Any] = _as_given

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.spelling.removeprefix("--").replace("-", "_")


def _shapes_of_inputs(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    table = {}
    for text in texts:
        name, _, rest = text.partition(":")
        dims, _, dtype = rest.partition(":")
        shape = {"shape": parse_shape(f"{name}:{dims}", "--input")[1]} if dims else {}
        table[name] = {**shape, **({"dtype": dtype} if dtype else {})}
    return table


def _profiles(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Ranges of shapes by input; one that is named again has several profiles."""
    return _ranges(texts, "--shapes", "profile")


def _values(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Ranges of values by input, likewise."""
    return _ranges(texts, "--values", "values")


def _ranges(texts: tuple[str, ...], option: str, key: str) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, span = parse_profile(text, option)
        table.setdefault(name, {key: []})[key].append(span)
    return table


def _layouts(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    table = {}
    for text in texts:
        name, _, layout = text.rpartition("=")
        if not name:
            raise UsageError(f"--layout {text}: expected NAME=nchw", hint=f"for example --layout {text}=nchw")
        table[name] = {"layout": layout}
    return table


def _row(spelling: str, key: str, text: str, value: Callable[[Any], Any] = _as_given, **settings: Any) -> _Option:
    return _Option(spelling, key, {"help": text, **settings}, value)


def _if_given(flag: bool) -> bool | None:
    return flag or None


_FILE = click.Path(path_type=Path)
_INPUT = _row(
    "--input",
    "inputs",
    "Shape of an input, as in --input image:batch,28,28,1.",
    _shapes_of_inputs,
    multiple=True,
    metavar="NAME[:SHAPE[:TYPE]]",
)
_SHAPES = _row(
    "--shapes",
    "inputs",
    "Profile: batch sizes or full shapes; again for another one.",
    _profiles,
    multiple=True,
    metavar="NAME=MINxOPTxMAX",
)
_VALUES = _row(
    "--values",
    "inputs",
    "Range of the values of an input that decides shapes.",
    _values,
    multiple=True,
    metavar="NAME=MINxOPTxMAX",
)
_LAYOUT = _row(
    "--layout", "inputs", "Input that the model takes channels first.", _layouts, multiple=True, metavar="NAME=nchw"
)
_NAMED = _row("--output-name", "convert.outputs", "Output to keep (default: all).", multiple=True, metavar="NAME")
_FORMAT = _row("--format", "source.format", "Source format (default: look at the file).")
_WEIGHTS = _row(
    "--weights", "source.weights", "Weights of a model whose own file has none, such as a prototxt.", type=_FILE
)
_PYTHON = _row("--python", "source.python", "Interpreter, or virtual environment, that has the framework.", type=_FILE)
_IMPLICIT = _row(
    "--implicit-batch",
    "source.implicit_batch",
    "Whether shapes in a network script leave the batch out (default: auto).",
    lambda given: {"true": True, "false": False}.get(given, given),
    metavar="true|false|auto",
)
_API_VERSION = _row(
    "--api-version", "source.api_version", "What tensorrt.__version__ says in a network script.", metavar="VERSION"
)
_ARGUMENT = _row(
    "--argument", "source.arguments", "Argument of a network script; again for the next.", multiple=True, metavar="ARG"
)
_SIGNATURE = _row("--signature", "source.signature", "SavedModel signature.")
_TAG = _row("--tag", "source.tags", "SavedModel tags (default: serve).", multiple=True, metavar="TAG")
_CONSTANT = _row(
    "--constant",
    "source.constants",
    "Placeholder with a fixed value: keep_prob=1.",
    lambda texts: parse_constants(texts, "--constant"),
    multiple=True,
    metavar="NAME=VALUE",
)
_OPERATOR = _row(
    "--operator",
    "operators",
    "ONNX function or model of what an operator computes; keep: its nodes stay.",
    lambda texts: parse_files(texts, "--operator"),
    multiple=True,
    metavar="DOMAIN::NAME=FILE",
)
_PLUGIN = _row(
    "--plugin",
    "plugins",
    "Plugin for operators that TensorRT lacks; embed:LIBRARY puts it into the engine. Needs --allow-code.",
    parse_plugins,
    multiple=True,
    metavar="LIBRARY|MODULE:CLASS",
)
_OPSET = _row("--opset", "convert.opset", "ONNX opset (default 17).", type=int)
_NO_CHECK = _row(
    "--no-check",
    "convert.check",
    "Do not compare the result with its source.",
    lambda given: False if given else None,
    is_flag=True,
)
_CHECK_DATA = _row(
    "--check-data", "convert.check_data", ".npz with inputs to compare on, or in.NAME and out.NAME.", type=_FILE
)
_CHECK_SECONDS = _row(
    "--check-seconds", "convert.check_seconds", "How long source and result may take (default 60).", type=float
)
_EMIT_JOB = _row(
    "--emit-job",
    "",
    "Write the job file that does the same, and what a script asks of the builder; no more.",
    type=_FILE,
)
_DATA = _row("--data", "calibrate.data.path", "Samples: .npz, .npy, a folder or a glob.", type=_FILE)
_METHOD = _row("--method", "calibrate.method", "minmax, entropy, percentile or mse (default minmax).")
_SAMPLES = _row("--samples", "calibrate.data.samples", "Samples to use at most.", type=int)
_BATCH_AXIS = _row(
    "--batch-axis",
    "calibrate.data.batch_axis",
    "Axis of an input that counts samples, where it is not the first.",
    parse_axes,
    multiple=True,
    metavar="NAME=AXIS",
)
_BATCH = _row("--batch", "calibrate.batch", "Samples per run (default 10).", type=int)
_CACHE = _row("--cache", "calibrate.cache", "Calibration cache, for int8 and fp8.", type=_FILE)
_TO = _row("--precision", "precision", "fp32, tf32, fp16, bf16, int8 or fp8.")
_BUILT = _row("--precision", "precision", "Default: fp32, or the file as it is when it is typed ONNX.")
_BASE = _row("--base", "lower.base", "Precision of what int8 or fp8 leaves alone: fp16 (default) or fp32.")
_KEEP_OP = _row("--keep-op", "lower.keep.ops", "Operator type that stays in FP32.", multiple=True, metavar="OP")
_KEEP_NAME = _row("--keep-name", "lower.keep.names", "Nodes that stay in FP32.", multiple=True, metavar="REGEX")
_IO_TYPES = _row("--io-types", "lower.io_types", "keep (FP32 inputs and outputs, default) or convert.")
_WORKSPACE = _row("--workspace", "build.workspace", "Memory limit, such as 1GiB.")
_BACKEND = _row("--backend", "build.backend", "auto (default), tensorrt or rtx.")
_TARGET = _row("--target", "build.targets", "Compute capability, for TensorRT-RTX.", multiple=True, metavar="smNN")
_STREAMING = _row(
    "--weight-streaming", "build.weight_streaming", "Weights may stay in host memory.", _if_given, is_flag=True
)
_REFIT = _row("--refit", "build.refit", "trtconv refit can replace the weights.", _if_given, is_flag=True)
_STRIP = _row(
    "--strip-weights", "build.strip_weights", "Leave the weights out; trtconv refit adds them.", _if_given, is_flag=True
)
_REFUSED = _row("--on-refusal", "build.fallback", "Who runs what TensorRT refuses: none (default) or onnxruntime.")
_CUT = _row(
    "--cut", "build.partition.cuts", "Tensor at which an engine among parts ends.", multiple=True, metavar="NAME"
)
_LEAST = _row("--min-subgraph-size", "build.min_subgraph_size", "Nodes of an engine among parts (default 3).", type=int)

Prepare = Callable[[Path, dict[str, Any]], None]
"""Completes or refuses the options given for a model."""


def _stage(kind: str, *rows: _Option) -> Callable[[Prepare], click.Command]:
    """The command of a stage that makes files of one kind, from a function with its name and help."""

    def command(prepare: Prepare) -> click.Command:
        def run(model: Path, output: Path | None, **options: Any) -> None:
            given = {row.name: options.pop(row.name) for row in rows}
            if is_job(model):
                only_job()
                _on_job(prepare.__name__, model, options)
                return
            only_model()
            prepare(model, given)
            if given.get("emit_job") is not None:
                emit_job.write(model, given["emit_job"], output, _keys(rows, given), options)
                return
            if output is None:
                raise UsageError(
                    f"{prepare.__name__} of a model needs -o FILE", hint=f"trtconv {prepare.__name__} {model} -o FILE"
                )
            if str(output) == "-":
                raise UsageError(
                    "-o - : a model is written to a file, not to standard output",
                    hint=f"trtconv {prepare.__name__} {model} -o FILE",
                )
            _on_model(prepare.__name__, kind, model, output, _keys(rows, given), options)

        run.__name__, run.__doc__ = prepare.__name__, prepare.__doc__
        whole: Callable[..., Any] = run
        own: list[Any] = [click.option(row.spelling, row.name, **row.settings) for row in rows]
        for add in reversed([_MODEL, _OUTPUT, *own, job_options, output_options]):
            whole = add(whole)
        return click.command()(whole)

    return command


_MODEL = click.argument("model", type=_FILE)
_OUTPUT = click.option("-o", "--output", type=_FILE, help="File to write (for a model).")


def _keys(rows: tuple[_Option, ...], given: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The job's keys, each with the option that is named when its value is wrong."""
    keys: dict[str, tuple[str, Any]] = {}
    for row in (row for row in rows if row.key):
        value = row.value(given[row.name]) if given[row.name] not in (None, ()) else None
        spelling, before = keys.get(row.key, (row.spelling, None))
        if isinstance(before, dict) and isinstance(value, dict):
            merged = {name: {**before.get(name, {}), **value.get(name, {})} for name in {**before, **value}}
            keys[row.key] = (spelling, merged)
        elif value is not None:
            keys[row.key] = (row.spelling, value)
    return keys


def _on_job(stage: str, job: Path, options: dict[str, Any]) -> None:
    from trtconv.cli import execute

    shown = execute.Output.of(options)
    execute.run_job(job, stage=stage, output=shown, **options)


def _on_model(
    stage: str, kind: str, model: Path, output: Path, keys: dict[str, tuple[str, Any]], options: dict[str, Any]
) -> None:
    from trtconv.cli import execute

    shown = {name: options[name] for name in ("allow_code", "as_json", "log_json", "quiet")}
    execute.make_one(stage, kind, output, {"source.path": ("MODEL", str(existing(model))), **keys}, **shown)


@_stage("frozen", _INPUT, _NAMED, _FORMAT, _PYTHON, _SIGNATURE, _TAG, _CONSTANT)
def freeze(model: Path, given: dict[str, Any]) -> None:
    """Freeze MODEL (a job file, a SavedModel or a Keras file): variables become constants of one graph.

    \b
    trtconv freeze saved_model/ -o frozen.pb
    """


@_stage(
    "onnx",
    _INPUT,
    _NAMED,
    _FORMAT,
    _WEIGHTS,
    _PYTHON,
    _IMPLICIT,
    _ARGUMENT,
    _API_VERSION,
    _SIGNATURE,
    _TAG,
    _CONSTANT,
    _LAYOUT,
    _OPERATOR,
    _OPSET,
    _NO_CHECK,
    _CHECK_DATA,
    _CHECK_SECONDS,
    _EMIT_JOB,
)
def convert(model: Path, given: dict[str, Any]) -> None:
    """Convert MODEL (a job file or any source) to checked, cleaned FP32 ONNX.

    \b
    trtconv convert saved_model/ -o model.onnx
    trtconv convert saved_model/ -o model.onnx --input image:batch,224,224,3 --opset 17
    trtconv convert net.py --allow-code --emit-job job.yaml
    """


@_stage("cache", _DATA, _METHOD, _SAMPLES, _BATCH_AXIS, _INPUT, _FORMAT, _OPERATOR, _BATCH)
def calibrate(model: Path, given: dict[str, Any]) -> None:
    """Measure activation ranges of MODEL on samples and write a calibration cache (TensorRT's text format).

    \b
    trtconv calibrate model.onnx --data samples.npz -o model.cache --method entropy
    """
    if given["data"] is None:
        raise UsageError(
            "calibrate needs --data FILE: samples from the training set",
            hint="an .npz with one array per input, first axis samples",
        )


@_stage("typed", _INPUT, _FORMAT, _OPERATOR, _TO, _CACHE, _BASE, _KEEP_OP, _KEEP_NAME, _IO_TYPES)
def lower(model: Path, given: dict[str, Any]) -> None:
    """Make the typed ONNX of MODEL for one precision: Cast nodes for fp16, Q/DQ pairs for int8.

    \b
    trtconv lower model.onnx -o model.fp16.onnx --precision fp16
    trtconv lower model.onnx -o model.int8.onnx --precision int8 --cache model.cache
    """
    if given["precision"] is None:
        raise UsageError("lower needs --precision", hint="fp32, tf32, fp16, bf16, int8 or fp8")


_OF_ENGINES = (_PLUGIN, _SHAPES, _VALUES, _WORKSPACE, _BACKEND, _TARGET, _STREAMING, _REFIT, _STRIP)
_EPCONTEXT = _row(
    "--epcontext", "build.epcontext", "Write the parts as one ONNX model with EPContext nodes too.", type=_FILE
)
_OF_PARTS = (_REFUSED, _LEAST, _CUT, _EPCONTEXT)


@_stage("engine", _INPUT, _FORMAT, _OPERATOR, _BUILT, _CACHE, *_OF_ENGINES, *_OF_PARTS)
def build(model: Path, given: dict[str, Any]) -> None:
    """Build the TensorRT engine of MODEL; its facts go to ENGINE.json beside it.

    An ONNX file without --precision is built as it is: what trtconv lower made stays typed as it was made.
    With --on-refusal onnxruntime, FILE is a folder of parts: engines, ONNX for the rest, and how they run as one.

    \b
    trtconv build model.onnx -o model.engine --precision fp16 --shapes image=1x8x32
    trtconv build model.int8.onnx -o model.engine --workspace 1GiB
    trtconv build detector.onnx -o detector.parts --on-refusal onnxruntime
    """
    if given["precision"] is None and model.suffix.lower() == ".onnx":
        given["precision"] = "typed"

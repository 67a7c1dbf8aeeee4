"""The stages that make files, on a job or on a model and options. The options are the job's keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import (
    existing,
    is_job,
    job_options,
    output_options,
    parse_constants,
    parse_profile,
    parse_shape,
)
from trtconv.core.errors import UsageError

_MODEL = click.argument("model", type=click.Path(path_type=Path))
_OUTPUT = click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write (for a model).")
_INPUT = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME[:SHAPE]",
    help="Shape of an input, as in --input image:batch,28,28,1.",
)
_NAMED = click.option("--output-name", "names", multiple=True, metavar="NAME", help="Output to keep (default: all).")
_FORMAT = click.option("--format", "format_", help="Source format (default: look at the file).")
_SIGNATURE = click.option("--signature", help="SavedModel signature.")
_OPSET = click.option("--opset", type=int, help="ONNX opset (default 17).")
_TAGS = click.option("--tag", "tags", multiple=True, metavar="TAG", help="SavedModel tags (default: serve).")
_CONSTANT = click.option(
    "--constant", "constants", multiple=True, metavar="NAME=VALUE", help="Placeholder with a fixed value: keep_prob=1."
)
_LAYOUT = click.option(
    "--layout", "layouts", multiple=True, metavar="NAME=nchw", help="Input that the model takes channels first."
)
_DATA = click.option("--data", type=click.Path(path_type=Path), help="Samples: .npz, .npy, a folder or a glob.")
_METHOD = click.option("--method", help="minmax, entropy, percentile or mse (default minmax).")
_SAMPLES = click.option("--samples", type=int, help="Samples to use at most.")


def _options(*decorators: Any) -> Callable[..., Any]:
    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed((_MODEL, _OUTPUT, *decorators, job_options, output_options)):
            command = decorator(command)
        return command

    return apply


def _run(
    stage: str, kind: str, model: Path, output: Path | None, keys: dict[str, tuple[str, Any]], options: dict[str, Any]
) -> None:
    """Run a stage on a job file, or on a model with options."""
    from trtconv.cli import execute

    if is_job(model):
        given = [spelling for spelling, value in keys.values() if value not in (None, (), [], {})]
        if output is not None or given:
            spelling = given[0] if given else "-o"
            raise UsageError(
                f"{spelling} goes with a model; a job file says it itself",
                hint="use --set KEY=VALUE to override the job",
            )
        shown = execute.Output(*(options.pop(name) for name in ("as_json", "log_json", "quiet")))
        execute.run_job(model, stage=stage, output=shown, **options)
        return
    if output is None:
        raise UsageError(f"{stage} of a model needs -o FILE", hint=f"trtconv {stage} {model} -o FILE")
    for key, spelling in (("assignments", "--set"), ("force", "--force")):
        if options.pop(key):
            raise UsageError(f"{spelling} goes with a job file", hint="use the command's own options for a model")
    keys = {"source.path": ("MODEL", str(existing(model))), **keys}
    execute.make_one(stage, kind, output, keys, **options)


def _source(
    format_: str | None,
    signature: str | None,
    inputs: tuple[str, ...],
    names: tuple[str, ...],
    profiles: tuple[str, ...] = (),
    layouts: tuple[str, ...] = (),
) -> dict[str, tuple[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for text in inputs:
        name, shape = parse_shape(text, "--input") if ":" in text else (text, None)
        table[name] = {} if shape is None else {"shape": shape}
    for text in profiles:
        name, profile = parse_profile(text, "--shapes")
        table.setdefault(name, {})["profile"] = profile
    for text in layouts:
        name, _, layout = text.rpartition("=")
        if not name:
            raise UsageError(f"--layout {text}: expected NAME=nchw", hint=f"for example --layout {text}=nchw")
        table.setdefault(name, {})["layout"] = layout
    return {
        "source.format": ("--format", format_),
        "source.signature": ("--signature", signature),
        "inputs": ("--input" if inputs else "--layout" if layouts else "--shapes", table),
        "convert.outputs": ("--output-name", list(names)),
    }


@click.command()
@_options(_INPUT, _NAMED, _FORMAT, _SIGNATURE, _TAGS, _CONSTANT)
def freeze(
    model: Path,
    output: Path | None,
    inputs: tuple[str, ...],
    names: tuple[str, ...],
    format_: str | None,
    signature: str | None,
    tags: tuple[str, ...],
    constants: tuple[str, ...],
    **options: Any,
) -> None:
    """Freeze MODEL (a job file, a SavedModel or a Keras file): variables become constants of one graph.

    \b
    trtconv freeze saved_model/ -o frozen.pb
    """
    keys = {**_source(format_, signature, inputs, names), **_graph(tags, constants)}
    _run("freeze", "frozen", model, output, keys, options)


@click.command()
@_options(_INPUT, _NAMED, _FORMAT, _SIGNATURE, _TAGS, _CONSTANT, _LAYOUT, _OPSET)
@click.option("--no-check", is_flag=True, help="Do not compare the result with its source.")
def convert(
    model: Path,
    output: Path | None,
    inputs: tuple[str, ...],
    names: tuple[str, ...],
    format_: str | None,
    signature: str | None,
    tags: tuple[str, ...],
    constants: tuple[str, ...],
    layouts: tuple[str, ...],
    opset: int | None,
    no_check: bool,
    **options: Any,
) -> None:
    """Convert MODEL (a job file or any source) to checked, cleaned FP32 ONNX.

    \b
    trtconv convert saved_model/ -o model.onnx
    trtconv convert saved_model/ -o model.onnx --input image:batch,224,224,3 --opset 17
    """
    keys = {
        **_source(format_, signature, inputs, names, layouts=layouts),
        **_graph(tags, constants),
        "convert.opset": ("--opset", opset),
        "convert.check": ("--no-check", False if no_check else None),
    }
    _run("convert", "onnx", model, output, keys, options)


def _graph(tags: tuple[str, ...], constants: tuple[str, ...]) -> dict[str, tuple[str, Any]]:
    return {
        "source.tags": ("--tag", list(tags)),
        "source.constants": ("--constant", parse_constants(constants, "--constant")),
    }


@click.command()
@_options(_DATA, _METHOD, _SAMPLES, _INPUT, _FORMAT)
@click.option("--batch", type=int, help="Samples per run (default 10).")
def calibrate(
    model: Path,
    output: Path | None,
    data: Path | None,
    method: str | None,
    samples: int | None,
    inputs: tuple[str, ...],
    format_: str | None,
    batch: int | None,
    **options: Any,
) -> None:
    """Measure activation ranges of MODEL on samples and write a calibration cache (TensorRT's text format).

    \b
    trtconv calibrate model.onnx --data samples.npz -o model.cache --method entropy
    """
    if not is_job(model) and data is None:
        raise UsageError(
            "calibrate needs --data FILE: samples from the training set",
            hint="an .npz with one array per input, first axis samples",
        )
    keys = {
        **_source(format_, None, inputs, ()),
        "calibrate.data": ("--data", _data(data, samples)),
        "calibrate.method": ("--method", method),
        "calibrate.batch": ("--batch", batch),
    }
    _run("calibrate", "cache", model, output, keys, options)


@click.command()
@_options(_INPUT, _FORMAT)
@click.option("--precision", help="fp32, tf32, fp16, bf16, int8 or fp8.")
@click.option("--cache", type=click.Path(path_type=Path), help="Calibration cache, for int8 and fp8.")
@click.option("--base", help="Precision of what int8 or fp8 leaves alone: fp16 (default) or fp32.")
@click.option("--keep-op", "keep_ops", multiple=True, metavar="OP", help="Operator type that stays in FP32.")
@click.option("--keep-name", "keep_names", multiple=True, metavar="REGEX", help="Nodes that stay in FP32.")
@click.option("--io-types", help="keep (FP32 inputs and outputs, default) or convert.")
def lower(
    model: Path,
    output: Path | None,
    inputs: tuple[str, ...],
    format_: str | None,
    precision: str | None,
    cache: Path | None,
    base: str | None,
    keep_ops: tuple[str, ...],
    keep_names: tuple[str, ...],
    io_types: str | None,
    **options: Any,
) -> None:
    """Make the typed ONNX of MODEL for one precision: Cast nodes for fp16, Q/DQ pairs for int8.

    \b
    trtconv lower model.onnx -o model.fp16.onnx --precision fp16
    trtconv lower model.onnx -o model.int8.onnx --precision int8 --cache model.cache
    """
    if not is_job(model) and precision is None:
        raise UsageError("lower needs --precision", hint="fp32, tf32, fp16, bf16, int8 or fp8")
    keys = {
        **_source(format_, None, inputs, ()),
        **_lowering(precision, cache),
        "lower.base": ("--base", base),
        "lower.keep.ops": ("--keep-op", list(keep_ops)),
        "lower.keep.names": ("--keep-name", list(keep_names)),
        "lower.io_types": ("--io-types", io_types),
    }
    _run("lower", "typed", model, output, keys, options)


@click.command()
@_options(_INPUT, _FORMAT)
@click.option("--precision", help="Default: fp32, or the file as it is when it is typed ONNX.")
@click.option("--cache", type=click.Path(path_type=Path), help="Calibration cache, for int8 and fp8.")
@click.option("--shapes", multiple=True, metavar="NAME=MINxOPTxMAX", help="Profile: batch sizes or full shapes.")
@click.option("--workspace", help="Memory limit, such as 1GiB.")
@click.option("--backend", help="auto (default), tensorrt or rtx.")
@click.option("--target", "targets", multiple=True, metavar="smNN", help="Compute capability, for TensorRT-RTX.")
def build(
    model: Path,
    output: Path | None,
    inputs: tuple[str, ...],
    format_: str | None,
    precision: str | None,
    cache: Path | None,
    shapes: tuple[str, ...],
    workspace: str | None,
    backend: str | None,
    targets: tuple[str, ...],
    **options: Any,
) -> None:
    """Build the TensorRT engine of MODEL; its facts go to ENGINE.json beside it.

    An ONNX file without --precision is built as it is: what trtconv lower made stays typed as it was made.

    \b
    trtconv build model.onnx -o model.engine --precision fp16 --shapes image=1x8x32
    trtconv build model.int8.onnx -o model.engine --workspace 1GiB
    """
    if precision is None and not is_job(model) and model.suffix.lower() == ".onnx":
        precision = "typed"
    keys = {
        **_source(format_, None, inputs, (), shapes),
        **_lowering(precision, cache),
        "build.workspace": ("--workspace", workspace),
        "build.backend": ("--backend", backend),
        "build.targets": ("--target", list(targets)),
    }
    _run("build", "engine", model, output, keys, options)


def _lowering(precision: str | None, cache: Path | None) -> dict[str, tuple[str, Any]]:
    return {
        "precision": ("--precision", precision),
        "calibrate.cache": ("--cache", None if cache is None else str(cache)),
    }


def _data(path: Path | None, samples: int | None) -> dict[str, Any]:
    if path is None:
        return {}
    return {"path": str(path)} | ({} if samples is None else {"samples": samples})

"""infer: samples through an engine or model."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import (
    COUNT,
    FILE,
    EngineOptions,
    existing,
    existing_or_glob,
    is_job,
    job_options,
    labels_of,
    only_job,
    only_model,
    output_options,
    parse_axes,
    row,
    takes,
)
from trtconv.core import unfinished
from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec


@dataclass(frozen=True)
class InferOptions:
    """What to run, and what becomes of it."""

    inputs: tuple[str, ...] = row("--input", "Samples of one input (.npy).", multiple=True, metavar="NAME=FILE")
    data: Path | None = row("--data", "Samples of all inputs: .npz, .npy, a folder or a glob.", type=FILE)
    labels: str = row(
        "--labels", "Key of the labels in the .npz, or a .npy file: prints the share that is right.", default=""
    )
    batch_axis: tuple[str, ...] = row(
        "--batch-axis",
        "Axis of an input or output that counts samples, where it is not the first.",
        multiple=True,
        metavar="NAME=AXIS",
    )
    output: Path | None = row("--output", ".npz, .npy, .json, .jsonl or .csv to write.", short="-o", type=FILE)
    batch: int | None = row("--batch", "Samples per run (default: the profile's opt).", type=COUNT)
    posts: tuple[str, ...] = row("--post", "Postprocessing, as in --post argmax.", multiple=True, metavar="NAME")
    contexts: int | None = row(
        "--contexts", "Execution contexts at work at the same time; without a GPU, threads.", type=COUNT
    )
    strict: bool = row(
        "--strict", "A bad file or sample ends the run, instead of being left out.", default=False, is_flag=True
    )


@click.command()
@click.argument("model", type=FILE)
@takes(InferOptions)
@takes(EngineOptions, name="engine")
@job_options
@output_options
def infer(model: Path, asked: InferOptions, engine: EngineOptions, **options: Any) -> None:
    """Run samples through MODEL: a job file, an .engine, an .onnx or a .parts.

    \b
    trtconv infer JOB
    trtconv infer model.engine --data samples.npz -o results.csv --post argmax
    trtconv infer model.onnx --input image=images.npy -o results.npz
    """
    from trtconv.cli import execute

    if is_job(model):
        only_job()
        execute.run_job(model, stage="infer", output=execute.Output.of(options), **options)
        return
    only_model()
    if asked.output is None or (asked.data is None) == (not asked.inputs):
        raise UsageError(
            "infer of a model needs -o FILE and either --data FILE or --input NAME=FILE",
            hint=f"trtconv infer {model} --data samples.npz -o results.npz",
        )
    with _samples(asked.data) as path:
        axes = parse_axes(asked.batch_axis)
        feed = FeedSpec(path, labels_of(asked.labels), names=_named(asked.inputs), batch_axes=axes)
        request = _request(model, feed, asked.output, asked, engine, allow_code=options["allow_code"])
        result = execute.call_stage("infer", request, log_json=options["log_json"], quiet=options["quiet"])
    execute.print_result("infer", result, _told(result), options["as_json"])


def _request(
    model: Path, feed: FeedSpec, output: Path, asked: InferOptions, engine: EngineOptions, *, allow_code: bool
) -> Any:
    from trtconv.stages.infer import InferRequest

    return InferRequest(
        model=existing(model),
        data=feed,
        output=output,
        fallback=engine.fallback,
        backend=engine.backend,
        batch=asked.batch,
        postprocess=tuple(map(_post, asked.posts)),
        device_api=engine.device_api,
        contexts=asked.contexts,
        strict=asked.strict,
        allow_code=allow_code,
        loading=engine.loading,
    )


def _post(text: str) -> dict[str, dict[str, Any]]:
    """``topk:k=3,axis=1`` as a row of a job."""
    name, _, listed = text.partition(":")
    pairs = [pair.partition("=") for pair in listed.split(",") if pair]
    if any(not sign for _, sign, _ in pairs):
        raise UsageError(f"--post {text}: expected NAME or NAME:KEY=VALUE,...", hint="for example --post topk:k=3")
    return {name: {key: _value(value) for key, _, value in pairs}}


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _told(result: Any) -> str:
    from trtconv.core.units import format_seconds

    lines = [f"{result.samples} samples in {format_seconds(result.seconds)} by {result.runner} -> {result.output}"]
    if result.decoders:
        lines.append(f"{result.decoders} processes decoded images, the {result.scaled_on} scaled them")
    if result.weights:
        from trtconv.report.summary import weights_text

        lines.append(weights_text(result.weights))
    lines += [f"the engine did not run: {result.fell_back}"] if result.fell_back else []
    lines += [f"{result.accuracy:.2f} % right"] if result.accuracy is not None else []
    return "\n".join([*lines, *(f"left out: {reason}" for reason in result.skipped)])


@contextlib.contextmanager
def _samples(data: Path | None) -> Iterator[Path | None]:
    """The samples' file; ``-`` is a .npy or .npz on standard input, kept in a file for as long as it is needed."""
    if data is None or str(data) != "-":
        yield None if data is None else existing_or_glob(data)
        return
    with unfinished.scratch() as folder:
        head = sys.stdin.buffer.read(4)
        kind = {b"PK": "npz", b"\x93N": "npy"}.get(head[:2])
        if kind is None:
            raise UsageError("standard input holds neither a .npy nor a .npz", hint="--data - < samples.npy")
        path = folder / f"standard input.{kind}"
        with path.open("wb") as file:
            file.write(head)
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def _named(inputs: tuple[str, ...]) -> dict[str, Path]:
    named = {}
    for text in inputs:
        name, _, file = text.rpartition("=")
        if not name or not file:
            raise UsageError(f"--input {text}: expected NAME=FILE", hint="for example --input image=images.npy")
        if file == "-":
            raise UsageError(f"--input {text}: standard input holds the samples of all inputs", hint="give --data -")
        named[name] = existing(Path(file))
    return named

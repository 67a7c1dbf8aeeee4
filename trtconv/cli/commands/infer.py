"""infer: samples through an engine or model."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import (
    engine_options,
    existing,
    existing_or_glob,
    is_job,
    job_options,
    only_job,
    only_model,
    output_options,
)
from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE", help="Samples of one input (.npy).")
@click.option("--data", type=click.Path(path_type=Path), help="Samples of all inputs: .npz, .npy, a folder or a glob.")
@click.option(
    "--labels", default="", help="Key of the labels in the .npz, or a .npy file: prints the share that is right."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".npz, .npy, .json, .jsonl or .csv to write.")
@click.option("--batch", type=click.IntRange(1), help="Samples per run (default: the profile's opt).")
@click.option("--post", "posts", multiple=True, metavar="NAME", help="Postprocessing, as in --post argmax.")
@click.option(
    "--contexts", type=click.IntRange(1), help="Execution contexts at work at the same time; without a GPU, threads."
)
@click.option("--strict", is_flag=True, help="A bad file or sample ends the run, instead of being left out.")
@engine_options
@job_options
@output_options
def infer(
    model: Path,
    inputs: tuple[str, ...],
    data: Path | None,
    labels: str,
    output: Path | None,
    batch: int | None,
    posts: tuple[str, ...],
    contexts: int | None,
    strict: bool,
    backend: str,
    fallback: Path | None,
    device_api: str,
    as_json: bool,
    log_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Run samples through MODEL: a job file, an .engine or an .onnx.

    \b
    trtconv infer JOB
    trtconv infer model.engine --data samples.npz -o results.csv --post argmax
    trtconv infer model.onnx --input image=images.npy -o results.npz
    """
    from trtconv.cli import execute
    from trtconv.core.units import format_seconds
    from trtconv.stages.infer import InferRequest

    if is_job(model):
        only_job()
        execute.run_job(model, stage="infer", output=execute.Output(as_json, log_json, quiet), **options)
        return
    only_model()
    if output is None or (data is None) == (not inputs):
        raise UsageError(
            "infer of a model needs -o FILE and either --data FILE or --input NAME=FILE",
            hint=f"trtconv infer {model} --data samples.npz -o results.npz",
        )
    with _samples(data) as path:
        feed = FeedSpec(path, labels, names=_named(inputs))
        request = InferRequest(
            existing(model),
            feed,
            output,
            fallback,
            backend,
            batch,
            tuple({name: {}} for name in posts),
            device_api,
            contexts,
            strict,
            options["allow_code"],
        )
        result = execute.call_stage("infer", request, log_json=log_json, quiet=quiet)
    lines = [f"{result.samples} samples in {format_seconds(result.seconds)} by {result.runner} -> {result.output}"]
    lines += (
        [f"{result.decoders} processes decoded images, the {result.scaled_on} scaled them"] if result.decoders else []
    )
    lines += [f"the engine did not run: {result.fell_back}"] if result.fell_back else []
    lines += [f"{result.accuracy:.2f} % right"] if result.accuracy is not None else []
    lines += [f"left out: {reason}" for reason in result.skipped]
    execute.print_result("infer", result, "\n".join(lines), as_json)


@contextlib.contextmanager
def _samples(data: Path | None) -> Iterator[Path | None]:
    """The samples' file; ``-`` is a .npy or .npz on standard input, kept in a file for as long as it is needed."""
    if data is None or str(data) != "-":
        yield None if data is None else existing_or_glob(data)
        return
    with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
        head = sys.stdin.buffer.read(4)
        kind = {b"PK": "npz", b"\x93N": "npy"}.get(head[:2])
        if kind is None:
            raise UsageError("standard input holds neither a .npy nor a .npz", hint="--data - < samples.npy")
        path = Path(folder) / f"standard input.{kind}"
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

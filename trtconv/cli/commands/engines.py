"""Commands on models and engines that exist: verify, infer, bench."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import existing, is_job, job_options, output_options
from trtconv.core.errors import AccuracyGateError, UsageError
from trtconv.core.records import FeedSpec

_BACKEND = click.option(
    "--backend",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "tensorrt", "rtx", "onnxruntime"]),
    help="auto: the engine where a GPU can run it, else its typed ONNX on ONNX Runtime.",
)
_FALLBACK = click.option(
    "--fallback",
    type=click.Path(path_type=Path),
    help="ONNX to run where the engine cannot (default: the one beside it).",
)
_DEVICE = click.option(
    "--device-api",
    default="auto",
    type=click.Choice(["auto", "cuda", "pycuda"]),
    show_default=True,
    help="Door to the GPU.",
)


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Samples: .npz, .npy, a folder or a glob.")
@click.option("--labels", default="", help="Key of the labels in the .npz, or a .npy file.")
@click.option("--batch", default=32, show_default=True, help="Samples per run.")
@click.option("--max-rel", type=float, help="Largest relative difference allowed; more is exit 6.")
@click.option("--max-accuracy-drop", type=float, help="Points of top-1 that may be lost; more is exit 6.")
@click.option("--per-layer", is_flag=True, help="Compare every tensor of typed models too, worst first.")
@click.option("--bisect", is_flag=True, help="Find the fewest nodes to keep in a higher precision to meet the gates.")
@click.option("--precision", help="For --bisect on models: what the typed model was lowered to.")
@click.option("--cache", type=click.Path(path_type=Path), help="For --bisect: the calibration cache, as for lower.")
@click.option("--min-snr", type=float, metavar="DB", help="For --bisect: a gate on every output's SNR.")
@job_options
@output_options
def verify(
    models: tuple[Path, ...],
    data: Path | None,
    labels: str,
    batch: int,
    max_rel: float | None,
    max_accuracy_drop: float | None,
    per_layer: bool,
    bisect: bool,
    precision: str | None,
    cache: Path | None,
    min_snr: float | None,
    as_json: bool,
    log_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Compare models: the first is the reference (an .onnx, an .engine, or an .npz of its outputs).

    \b
    trtconv verify JOB
    trtconv verify model.onnx model.int8.onnx --data heldout.npz --labels labels --max-accuracy-drop 1
    trtconv verify model.onnx model.fp16.onnx --data heldout.npz --per-layer
    trtconv verify model.onnx --data heldout.npz --bisect --precision fp16 --max-rel 0.01
    """
    from trtconv.cli import execute
    from trtconv.report.verify import verify_text
    from trtconv.stages.verify import VerifyRequest

    if bisect:
        gates = {"max_rel": max_rel, "max_accuracy_drop": max_accuracy_drop, "min_snr_db": min_snr}
        requests = (
            _bisect_job(models[0], gates, options, quiet)
            if is_job(models[0])
            else [_bisect_models(models, data, labels, batch, precision, cache, gates)]
        )
        _bisect(requests, as_json=as_json, log_json=log_json, quiet=quiet)
        return
    if precision or cache or min_snr is not None:
        raise UsageError("--precision, --cache and --min-snr belong to --bisect", hint="add --bisect")
    if is_job(models[0]):
        _only_job(models, data)
        if per_layer:
            raise UsageError("--per-layer compares two ONNX models",
                             hint="give the job's files: trtconv verify MODEL.onnx MODEL.fp16.onnx --data FILE "
                                  "--per-layer")  # fmt: skip
        execute.run_job(models[0], stage="verify", output=execute.Output(as_json, log_json, quiet), **options)
        return
    if len(models) < 2 or data is None:
        raise UsageError(
            "verify needs two models or more, and --data FILE",
            hint="trtconv verify model.onnx model.fp16.onnx --data samples.npz",
        )
    reference, *others = [existing(model) for model in models]
    limits = {} if max_rel is None else {str(path): max_rel for path in others}
    request = VerifyRequest(
        reference,
        str(reference),
        {str(path): path for path in others},
        FeedSpec(existing(data), labels),
        batch,
        limits,
        max_accuracy_drop,
        tolerate_missing_gpu=False,
        per_layer=per_layer,
    )
    result = execute.call_stage("verify", request, log_json=log_json, quiet=quiet)
    execute.print_result("verify", result, verify_text(result), as_json)
    if result.violations:
        error = AccuracyGateError(
            "\n".join(["accuracy gate missed", *result.violations]),
            hint="keep the nodes that lose accuracy in FP32: trtconv lower --keep-op/--keep-name",
        )
        error.__dict__["reported"] = True
        raise error


def _bisect_models(models: tuple[Path, ...], data: Path | None, labels: str, batch: int, precision: str | None,
                   cache: Path | None, gates: dict[str, float | None]) -> Any:  # fmt: skip
    from trtconv.stages.verify.bisect import BisectRequest

    if data is None or precision is None or len(models) != 1:
        raise UsageError("bisect needs one FP32 ONNX model, --data FILE and --precision",
                         hint="trtconv verify model.onnx --bisect --precision fp16 --data samples.npz --max-rel 0.01"
                         )  # fmt: skip
    feed = FeedSpec(existing(data), labels)
    return BisectRequest(
        existing(models[0]),
        feed,
        precision,
        cache and existing(cache),
        batch=batch,
        max_rel=gates["max_rel"],
        max_accuracy_drop=gates["max_accuracy_drop"],
        min_snr_db=gates["min_snr_db"],
    )


def _bisect_job(path: Path, gates: dict[str, float | None], options: Mapping[str, Any], quiet: bool) -> list[Any]:
    """One request per precision of the job that has anything to bisect, after its models are made."""
    from trtconv.cli import execute
    from trtconv.cli.console import listening
    from trtconv.job.load import load_job
    from trtconv.pipeline import bisecting
    from trtconv.pipeline.line import line, upto
    from trtconv.pipeline.run import Settings, run

    job = load_job(path, options["assignments"])
    layout = execute.layout_of(job)
    steps = upto(line(job, layout, allow_code=options["allow_code"]), "lower")
    with listening(quiet=quiet, log_json=False) as emit:
        done = run(steps, layout, emit, Settings(options["force"]))
    for step in done:
        if step.error is not None:
            raise step.error
    return bisecting.requests(job, layout, gates)


def _bisect(requests: list[Any], *, as_json: bool, log_json: bool, quiet: bool) -> None:
    from trtconv.cli import execute
    from trtconv.report.verify import bisect_text

    results = [execute.call_function("trtconv.stages.verify.bisect:bisect", request, log_json=log_json, quiet=quiet)
               for request in requests]  # fmt: skip
    if as_json:
        click.echo(json.dumps({"schema": 1, "bisect": [dataclasses.asdict(r) for r in results]}, indent=2))
        return
    click.echo("\n\n".join(bisect_text(result) for result in results))


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE", help="Samples of one input (.npy).")
@click.option("--data", type=click.Path(path_type=Path), help="Samples of all inputs: .npz, .npy, a folder or a glob.")
@click.option(
    "--labels", default="", help="Key of the labels in the .npz, or a .npy file: prints the share that is right."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".npz, .npy, .json, .jsonl or .csv to write.")
@click.option("--batch", type=int, help="Samples per run (default: the profile's opt).")
@click.option("--post", "posts", multiple=True, metavar="NAME", help="Postprocessing, as in --post argmax.")
@click.option("--contexts", type=click.IntRange(1), help="Threads, each with an execution context.")
@click.option("--strict", is_flag=True, help="A bad file or sample ends the run, instead of being left out.")
@_BACKEND
@_FALLBACK
@_DEVICE
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
        _only_job((model,), data)
        execute.run_job(model, stage="infer", output=execute.Output(as_json, log_json, quiet), **options)
        return
    if output is None or (data is None) == (not inputs):
        raise UsageError(
            "infer of a model needs -o FILE and either --data FILE or --input NAME=FILE",
            hint=f"trtconv infer {model} --data samples.npz -o results.npz",
        )
    with _samples(data) as path:
        feed = FeedSpec(path, labels, names=_named(inputs))
        request = InferRequest(
            existing(model), feed, output, fallback, backend, batch, tuple({name: {}} for name in posts), device_api,
            contexts, strict, options["allow_code"],
        )  # fmt: skip
        result = execute.call_stage("infer", request, log_json=log_json, quiet=quiet)
    lines = [f"{result.samples} samples in {format_seconds(result.seconds)} by {result.runner} -> {result.output}"]
    lines += [f"the engine did not run: {result.fell_back}"] if result.fell_back else []
    lines += [f"{result.accuracy:.2f} % right"] if result.accuracy is not None else []
    lines += [f"left out: {reason}" for reason in result.skipped]
    execute.print_result("infer", result, "\n".join(lines), as_json)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--batch", metavar="N,N,...", help="Batch sizes, one measurement each (default: the profile's opt).")
@click.option(
    "--semantics",
    default="trtexec11",
    show_default=True,
    type=click.Choice(["trtexec10", "trtexec11", "app", "pipelined"]),
    help="What the numbers mean, see docs/bench.md.",
)
@click.option("--warmup", default="200ms", show_default=True, help="Time before queries count.")
@click.option("--duration", default="3s", show_default=True, help="Time that counts, at least.")
@click.option("--iterations", default=10, show_default=True, help="Queries that count, at least.")
@click.option("--streams", default=1, show_default=True, help="Execution contexts, each with its own streams.")
@click.option(
    "--save-baseline", type=click.Path(path_type=Path), help="Keep the best of several measurements, for gates."
)
@click.option("--repeats", type=click.IntRange(1), help="Measurements of each batch (default: 1; a baseline: 3).")
@click.option("--depth", type=click.IntRange(1), help="Queries in flight on each context (default: semantics).")
@click.option("--rate", type=float, help="Queries per second at random times, for --semantics app.")
@click.option("--layers", is_flag=True, help="Measure every layer too, in a run of its own.")
@click.option("--tune", is_flag=True, help="Search contexts, depth and graph for the most throughput; prints the YAML.")
@click.option("--max-latency", metavar="TIME", help="99th percentile that --tune may not exceed, such as 5ms.")
@click.option("--against", multiple=True, metavar="RIVAL", help="Compare: onnxruntime, pytorch:module:function.")
@_BACKEND
@_FALLBACK
@_DEVICE
@job_options
@output_options
def bench(
    model: Path,
    batch: str | None,
    semantics: str,
    warmup: str,
    duration: str,
    iterations: int,
    streams: int,
    backend: str,
    fallback: Path | None,
    device_api: str,
    save_baseline: Path | None,
    repeats: int | None,
    depth: int | None,
    rate: float | None,
    layers: bool,
    tune: bool,
    max_latency: str | None,
    against: tuple[str, ...],
    as_json: bool,
    log_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure MODEL: a job file, an .engine or an .onnx.

    \b
    trtconv bench JOB
    trtconv bench model.engine --batch 1,8,32 --semantics trtexec11 --json
    """
    from trtconv.cli import execute
    from trtconv.report.summary import bench_text
    from trtconv.stages.bench import BenchRequest

    if is_job(model):
        _only_job((model,), None)
        shown = execute.Output(as_json, log_json, quiet)
        if save_baseline is None:
            execute.run_job(model, stage="bench", output=shown, **options)
        else:
            _save_baseline(model, save_baseline, repeats or 3, shown, options)
        return
    if save_baseline is not None:
        raise UsageError("--save-baseline goes with a job file", hint="a baseline names the job's engines")
    request = BenchRequest(
        existing(model),
        fallback,
        backend,
        _sizes(batch),
        semantics,
        _seconds("--warmup", warmup),
        _seconds("--duration", duration),
        iterations,
        streams=streams,
        device_api=device_api,
        rules={"depth": depth},
        repeats=repeats or 1,
        rate=rate,
        layers=layers,
        tune=tune,
        max_latency=None if max_latency is None else _seconds("--max-latency", max_latency),
        against=against,
        allow_code=options["allow_code"],
    )
    result = execute.call_stage("bench", request, log_json=log_json, quiet=quiet)
    execute.print_result("bench", result, bench_text(result, model.name), as_json)


def _save_baseline(job: Path, path: Path, repeats: int, shown: Any, options: dict[str, Any]) -> None:
    """Measure a job's engines several times and keep the best of each."""
    from trtconv.cli import execute
    from trtconv.pipeline import baseline

    results: dict[str, list[Any]] = {}
    controls: list[dict[str, float]] = []
    forced = {**options, "force": (*options.pop("force", ()), "bench"), "ignore_gates": True}
    for _ in range(max(repeats, 1)):
        steps = execute.run_job(job, stage="bench", output=shown, **forced)
        measured = [step for step in steps if step.node.stage == "bench" and step.result is not None]
        for step in measured:
            results.setdefault(step.node.precision, []).append(step.result)
        if any(baseline.on_cpu(step.result) for step in measured):
            from trtconv.pipeline import control

            controls.append(control.figures())
    baseline.write(path, results, controls)
    click.echo(f"{path}: best of {max(repeats, 1)} measurements of {', '.join(results)}", err=True)


@contextlib.contextmanager
def _samples(data: Path | None) -> Iterator[Path | None]:
    """The samples' file; ``-`` is a .npy or .npz on standard input, kept in a file for as long as it is needed."""
    if data is None or str(data) != "-":
        glob = data is not None and any(mark in data.name for mark in "*?[")
        yield data if data is None or glob else existing(data)
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


def _only_job(models: tuple[Path, ...], data: Path | None) -> None:
    if len(models) > 1 or data is not None:
        raise UsageError(
            "a job file goes alone: it names its models and data itself", hint="use --set KEY=VALUE to override the job"
        )


def _named(inputs: tuple[str, ...]) -> dict[str, Path]:
    named = {}
    for text in inputs:
        name, _, file = text.rpartition("=")
        if not name or not file:
            raise UsageError(f"--input {text}: expected NAME=FILE", hint="for example --input image=images.npy")
        named[name] = existing(Path(file))
    return named


def _sizes(text: str | None) -> tuple[int, ...]:
    parts = [] if text is None else text.split(",")
    if any(not part.strip().isdigit() or int(part) < 1 for part in parts):
        raise UsageError(f"--batch {text}: expected positive numbers with commas", hint="for example --batch 1,8,32")
    return tuple(int(part) for part in parts)


def _seconds(option: str, text: str) -> float:
    from trtconv.core.units import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint=f"for example {option} 500ms") from None

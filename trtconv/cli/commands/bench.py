"""bench: what an engine or model does per second, and how long one query takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import (
    COUNT,
    FILE,
    POSITIVE,
    EngineOptions,
    existing,
    existing_or_glob,
    gate_option,
    is_job,
    job_options,
    only_job,
    only_model,
    output_options,
    parse_axes,
    parse_profile,
    row,
    takes,
)
from trtconv.core.errors import Interrupted, UsageError
from trtconv.core.records import FeedSpec, ShapeRange


@dataclass(frozen=True)
class BenchOptions:
    """What to measure, and how; texts as they were typed."""

    batch: str | None = row(
        "--batch", "Batch sizes, one measurement each (default: the profile's opt).", metavar="N,N,..."
    )
    data: Path | None = row("--data", "Samples: .npz, .npy, a folder or a glob (default: random values).", type=FILE)
    batch_axis: tuple[str, ...] = row(
        "--batch-axis",
        "Axis of an input that counts samples, where it is not the first.",
        multiple=True,
        metavar="NAME=AXIS",
    )
    semantics: str = row(
        "--semantics",
        "What the numbers mean, see docs/bench.md.",
        "trtexec11",
        type=click.Choice(["trtexec10", "trtexec11", "app", "pipelined"]),
    )
    warmup: str = row("--warmup", "Time before queries count.", "200ms")
    duration: str = row("--duration", "Time that counts, at least.", "3s")
    iterations: int = row("--iterations", "Queries that count, at least.", 10, type=COUNT)
    streams: int = row("--streams", "Execution contexts, each with its own streams.", 1, type=COUNT)
    save_baseline: Path | None = row("--save-baseline", "Keep the best of several measurements, for gates.", type=FILE)
    repeats: int | None = row("--repeats", "Measurements of each batch (default: 1; a baseline: 3).", type=COUNT)
    depth: int | None = row("--depth", "Queries in flight on each context (default: semantics).", type=COUNT)
    rate: float | None = row("--rate", "Queries per second at random times, for --semantics app.", type=POSITIVE)
    layers: bool = row("--layers", "Measure every layer too, in a run of its own.", default=False, is_flag=True)
    tune: bool = row(
        "--tune",
        "Search contexts, depth and graph for the most throughput; prints the YAML.",
        default=False,
        is_flag=True,
    )
    max_latency: str | None = row(
        "--max-latency", "99th percentile that --tune may not exceed, such as 5ms.", metavar="TIME"
    )
    against: tuple[str, ...] = row(
        "--against", "Compare: onnxruntime, pytorch:module:function.", multiple=True, metavar="RIVAL"
    )
    values: tuple[str, ...] = row(
        "--values", "Values that decide shapes, as in build.", multiple=True, metavar="NAME=MINxOPTxMAX"
    )


@click.command()
@click.argument("model", type=FILE)
@takes(BenchOptions)
@gate_option
@takes(EngineOptions, name="engine")
@job_options
@output_options
def bench(model: Path, asked: BenchOptions, engine: EngineOptions, bounds: tuple[str, ...], **options: Any) -> None:
    """Measure MODEL: a job file, an .engine or an .onnx.

    \b
    trtconv bench JOB
    trtconv bench model.engine --batch 1,8,32 --semantics trtexec11 --json
    trtconv bench model.onnx --gate 'latency_p99<=50ms'
    """
    if is_job(model):
        _on_job(model, asked, bounds, options)
    else:
        only_model("save_baseline")
        gates = [_gate(text) for text in bounds]
        _on_model(model, _request(model, asked, engine, allow_code=options["allow_code"]), gates, options)


def _on_job(job: Path, asked: BenchOptions, bounds: tuple[str, ...], options: dict[str, Any]) -> None:
    from trtconv.cli import execute

    shown = execute.Output.of(options)
    if asked.save_baseline is None:
        only_job("bounds")
        execute.run_job(job, stage="bench", output=shown, bounds=bounds, **options)
    else:
        only_job("save_baseline", "repeats")
        _save_baseline(job, asked.save_baseline, asked.repeats or 3, shown, options)


def _request(model: Path, asked: BenchOptions, engine: EngineOptions, *, allow_code: bool) -> Any:
    from trtconv.stages.bench import BenchRequest

    return BenchRequest(
        model=existing(model),
        fallback=engine.fallback,
        backend=engine.backend,
        batches=_sizes(asked.batch),
        semantics=asked.semantics,
        warmup=_seconds("--warmup", asked.warmup),
        duration=_seconds("--duration", asked.duration),
        iterations=asked.iterations,
        streams=asked.streams,
        data=None
        if asked.data is None
        else FeedSpec(existing_or_glob(asked.data), batch_axes=parse_axes(asked.batch_axis)),
        device_api=engine.device_api,
        rules={"depth": asked.depth},
        repeats=asked.repeats or 1,
        rate=asked.rate,
        layers=asked.layers,
        tune=asked.tune,
        max_latency=None if asked.max_latency is None else _seconds("--max-latency", asked.max_latency),
        against=asked.against,
        allow_code=allow_code,
        values=dict(map(_range, asked.values)),
        loading=engine.loading,
    )


def _on_model(model: Path, request: Any, gates: Sequence[Any], options: Mapping[str, Any]) -> None:
    from trtconv.cli import execute
    from trtconv.report.summary import bench_text

    def measured() -> Any:
        return execute.call_stage("bench", request, log_json=options["log_json"], quiet=options["quiet"])

    result = measured()
    execute.print_result("bench", result, bench_text(result, model.name), options["as_json"])
    if result.partial:
        stop = Interrupted("interrupted: the numbers are partial")
        stop.reported = True
        raise stop
    _judge(gates, model.name, result, measured)


def _range(text: str) -> tuple[str, ShapeRange]:
    name, bounds = parse_profile(text, "--values")
    return name, ShapeRange(*(tuple(bounds[bound]) for bound in ("min", "opt", "max")))


def _gate(text: str) -> Any:
    from trtconv.job import gate_bounds
    from trtconv.job.load import checked
    from trtconv.job.schema import Gate
    from trtconv.job.yaml_tree import Tree
    from trtconv.pipeline.gates import MEASURED

    gate = checked(Gate, Tree(gate_bounds.written(text), values={(): f"--gate {text}"}), Path.cwd())
    if gate.measure not in MEASURED or gate.engine:
        raise UsageError(
            f"--gate {text}: of a model, only {', '.join(MEASURED)} are measured here",
            hint="other gates, and those of one engine, go with a job file",
        )
    return gate


def _judge(gates: Sequence[Any], name: str, result: Any, again: Callable[[], Any]) -> None:
    """Print the verdicts on standard error, beside the result.

    Raises:
        TrtconvError: a gate was missed, or cannot be judged.
    """
    from trtconv.cli.execute import outcome
    from trtconv.pipeline.gates import judge
    from trtconv.pipeline.run import Step
    from trtconv.pipeline.steps import Node

    step = Step(Node(f"bench[{name}]", "bench", lambda _: None, (), name), "done", result=result)
    verdicts = judge(gates, [step], lambda _: again())
    for verdict in verdicts:
        click.echo(f"{'kept' if verdict.passed else 'MISSED'}  {verdict.name}: {verdict.said}", err=True)
    error = outcome([], verdicts)
    if error is not None:
        error.reported = True
        raise error


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
            from trtconv.pipeline import machine_load

            controls.append(machine_load.figures())
    baseline.write(path, results, controls)
    click.echo(f"{path}: best of {max(repeats, 1)} measurements of {', '.join(results)}", err=True)


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

"""bench: what an engine or model does per second, and how long one query takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import (
    engine_options,
    existing,
    existing_or_glob,
    gate_option,
    is_job,
    job_options,
    only_job,
    only_model,
    output_options,
    parse_profile,
)
from trtconv.core.errors import Interrupted, UsageError
from trtconv.core.records import FeedSpec, ShapeRange


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--batch", metavar="N,N,...", help="Batch sizes, one measurement each (default: the profile's opt).")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Samples: .npz, .npy, a folder or a glob (default: random values)."
)
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
@click.option("--values", multiple=True, metavar="NAME=MINxOPTxMAX", help="Values that decide shapes, as in build.")
@gate_option
@engine_options
@job_options
@output_options
def bench(
    model: Path,
    batch: str | None,
    data: Path | None,
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
    values: tuple[str, ...],
    bounds: tuple[str, ...],
    as_json: bool,
    log_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure MODEL: a job file, an .engine or an .onnx.

    \b
    trtconv bench JOB
    trtconv bench model.engine --batch 1,8,32 --semantics trtexec11 --json
    trtconv bench model.onnx --gate 'latency_p99<=50ms'
    """
    from trtconv.cli import execute
    from trtconv.report.summary import bench_text
    from trtconv.stages.bench import BenchRequest

    if is_job(model):
        shown = execute.Output(as_json, log_json, quiet)
        if save_baseline is None:
            only_job("bounds")
            execute.run_job(model, stage="bench", output=shown, bounds=bounds, **options)
        else:
            only_job("save_baseline", "repeats")
            _save_baseline(model, save_baseline, repeats or 3, shown, options)
        return
    only_model("save_baseline")
    gates = [_gate(text) for text in bounds]
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
        data=None if data is None else FeedSpec(existing_or_glob(data)),
        device_api=device_api,
        rules={"depth": depth},
        repeats=repeats or 1,
        rate=rate,
        layers=layers,
        tune=tune,
        max_latency=None if max_latency is None else _seconds("--max-latency", max_latency),
        against=against,
        allow_code=options["allow_code"],
        values=dict(map(_range, values)),
    )

    def measured() -> Any:
        return execute.call_stage("bench", request, log_json=log_json, quiet=quiet)

    result = measured()
    execute.print_result("bench", result, bench_text(result, model.name), as_json)
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

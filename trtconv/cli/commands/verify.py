"""verify: models compared with each other and with labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import existing, existing_or_glob, is_job, job_options, only_job, only_model, output_options
from trtconv.core.errors import AccuracyGateError, UsageError
from trtconv.core.records import FeedSpec


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Samples: .npz, .npy, a folder or a glob.")
@click.option("--labels", default="", help="Key of the labels in the .npz, or a .npy file.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Samples per run.")
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

    gates = {"max_rel": max_rel, "max_accuracy_drop": max_accuracy_drop, "min_snr_db": min_snr}
    if is_job(models[0]):
        only_job(*(["bisect", "max_rel", "max_accuracy_drop", "min_snr"] if bisect else []))
        if len(models) > 1:
            raise UsageError("a job file goes alone: it names its models itself", hint="trtconv verify JOB")
        if bisect:
            _bisect(_bisect_job(models[0], gates, options, quiet), as_json=as_json, log_json=log_json, quiet=quiet)
            return
        execute.run_job(models[0], stage="verify", output=execute.Output(as_json, log_json, quiet), **options)
        return
    only_model()
    if bisect:
        if per_layer:
            raise UsageError("--per-layer and --bisect exclude each other", hint="bisect tells the worst nodes itself")
        request = _bisect_models(models, data, labels, batch, precision, cache, gates)
        _bisect([request], as_json=as_json, log_json=log_json, quiet=quiet)
        return
    if precision or cache or min_snr is not None:
        raise UsageError("--precision, --cache and --min-snr belong to --bisect", hint="add --bisect")
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
        FeedSpec(existing_or_glob(data), labels),
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
        error.reported = True
        raise error


def _bisect_models(
    models: tuple[Path, ...],
    data: Path | None,
    labels: str,
    batch: int,
    precision: str | None,
    cache: Path | None,
    gates: dict[str, float | None],
) -> Any:
    from trtconv.stages.verify.bisect import BisectRequest

    if data is None or precision is None or len(models) != 1:
        raise UsageError(
            "bisect needs one FP32 ONNX model, --data FILE and --precision",
            hint="trtconv verify model.onnx --bisect --precision fp16 --data samples.npz --max-rel 0.01",
        )
    feed = FeedSpec(existing_or_glob(data), labels)
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

    results = [
        execute.call_function("trtconv.stages.verify.bisect:bisect", request, log_json=log_json, quiet=quiet)
        for request in requests
    ]
    if as_json:
        click.echo(json.dumps({"schema": 1, "bisect": [dataclasses.asdict(r) for r in results]}, indent=2))
        return
    click.echo("\n\n".join(bisect_text(result) for result in results))

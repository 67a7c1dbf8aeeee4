"""verify: models compared with each other and with labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import (
    COUNT,
    FILE,
    NOT_NEGATIVE,
    Finite,
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
from trtconv.core import strict_json
from trtconv.core.errors import AccuracyGateError, UsageError
from trtconv.core.records import FeedSpec


@dataclass(frozen=True)
class VerifyOptions:
    """What to compare on, and what is allowed."""

    data: Path | None = row("--data", "Samples: .npz, .npy, a folder or a glob.", type=FILE)
    labels: str = row("--labels", "Key of the labels in the .npz, or a .npy file.", default="")
    batch_axis: tuple[str, ...] = row(
        "--batch-axis",
        "Axis of an input that counts samples, where it is not the first.",
        multiple=True,
        metavar="NAME=AXIS",
    )
    batch: int = row("--batch", "Samples per run.", 32, type=COUNT)
    max_rel: float | None = row(
        "--tolerance",
        "Largest difference allowed, over the largest value; more is exit 6. Default: by precision, as in a job.",
        short="--max-rel",
        type=NOT_NEGATIVE,
        metavar="SHARE",
    )
    max_accuracy_drop: float | None = row(
        "--max-accuracy-drop", "Points of top-1 that may be lost; more is exit 6.", type=NOT_NEGATIVE
    )
    per_layer: bool = row(
        "--per-layer", "Compare every tensor of typed models too, worst first.", default=False, is_flag=True
    )
    bisect: bool = row(
        "--bisect",
        "Find the fewest nodes to keep in a higher precision to meet the gates.",
        default=False,
        is_flag=True,
    )
    precision: str | None = row("--precision", "For --bisect on models: what the typed model was lowered to.")
    cache: Path | None = row("--cache", "For --bisect: the calibration cache, as for lower.", type=FILE)
    min_snr: float | None = row(
        "--min-snr", "Least signal-to-noise ratio of every output; less is exit 6.", type=Finite(), metavar="DB"
    )
    min_cosine: float | None = row("--min-cosine", "Least cosine of every output; less is exit 6.", type=Finite(-1, 1))
    no_shapes: bool = row(
        "--no-shapes", "Do not compare at the other shapes of an engine's profiles.", default=False, is_flag=True
    )

    @property
    def gates(self) -> dict[str, float | None]:
        """Bounds by their names in a job."""
        return {"max_rel": self.max_rel, "max_accuracy_drop": self.max_accuracy_drop, "min_snr_db": self.min_snr}


@click.command()
@click.argument("models", nargs=-1, required=True, type=FILE)
@takes(VerifyOptions)
@job_options
@output_options
def verify(models: tuple[Path, ...], asked: VerifyOptions, **options: Any) -> None:
    """Compare models: the first is the reference (an .onnx, an .engine, or an .npz of its outputs).

    Exit 0 means that a bound was kept by every output: the one given here, else that of the model's precision (fp16:
    1 % of the largest value and 30 dB). Typed models are computed as their types say, which onnxruntime alone does not.

    \b
    trtconv verify JOB
    trtconv verify model.onnx model.int8.onnx --data heldout.npz --labels labels --max-accuracy-drop 1
    trtconv verify model.onnx model.fp16.onnx --data heldout.npz --tolerance 0.02 --per-layer
    trtconv verify model.onnx --data heldout.npz --bisect --precision fp16 --max-rel 0.01
    """
    if is_job(models[0]):
        _on_job(models, asked, options)
        return
    only_model()
    if asked.bisect:
        if asked.per_layer:
            raise UsageError("--per-layer and --bisect exclude each other", hint="bisect tells the worst nodes itself")
        if asked.min_cosine is not None or asked.no_shapes:
            raise UsageError("--min-cosine and --no-shapes do not go with --bisect", hint="bisect by --min-snr")
        _bisect([_bisect_models(models, asked)], options)
        return
    if asked.precision or asked.cache:
        raise UsageError("--precision and --cache belong to --bisect", hint="add --bisect")
    _on_models(models, asked, options)


def _on_job(models: tuple[Path, ...], asked: VerifyOptions, options: dict[str, Any]) -> None:
    from trtconv.cli import execute

    only_job(*(["bisect", "max_rel", "max_accuracy_drop", "min_snr"] if asked.bisect else []))
    if len(models) > 1:
        raise UsageError("a job file goes alone: it names its models itself", hint="trtconv verify JOB")
    if asked.bisect:
        _bisect(_bisect_job(models[0], asked.gates, options), options)
    else:
        execute.run_job(models[0], stage="verify", output=execute.Output.of(options), **options)


def _on_models(models: tuple[Path, ...], asked: VerifyOptions, options: Mapping[str, Any]) -> None:
    from trtconv.cli import execute
    from trtconv.report.verify import verify_text
    from trtconv.stages.verify import VerifyRequest
    from trtconv.stages.verify.records import Bound

    if len(models) < 2 or asked.data is None:
        raise UsageError(
            "verify needs two models or more, and --data FILE",
            hint="trtconv verify model.onnx model.fp16.onnx --data samples.npz",
        )
    reference, *others = [existing(model) for model in models]
    own = Bound(asked.max_rel, asked.min_snr, asked.min_cosine)
    request = VerifyRequest(
        reference=reference,
        reference_label=str(reference),
        candidates={str(path): path for path in others},
        data=FeedSpec(existing_or_glob(asked.data), labels_of(asked.labels), batch_axes=parse_axes(asked.batch_axis)),
        batch=asked.batch,
        bounds={} if own == Bound() else {str(path): own for path in others},
        max_accuracy_drop=asked.max_accuracy_drop,
        tolerate_missing_gpu=False,
        per_layer=asked.per_layer,
        corners=not asked.no_shapes,
    )
    result = execute.call_stage("verify", request, log_json=options["log_json"], quiet=options["quiet"])
    execute.print_result("verify", result, verify_text(result), options["as_json"])
    if result.violations:
        error = AccuracyGateError(
            "\n".join(["accuracy gate missed", *result.violations]),
            hint="keep the nodes that lose accuracy in FP32: trtconv lower --keep-op/--keep-name",
        )
        error.reported = True
        raise error


def _bisect_models(models: tuple[Path, ...], asked: VerifyOptions) -> Any:
    from trtconv.stages.verify.bisect import BisectRequest

    if asked.data is None or asked.precision is None or len(models) != 1:
        raise UsageError(
            "bisect needs one FP32 ONNX model, --data FILE and --precision",
            hint="trtconv verify model.onnx --bisect --precision fp16 --data samples.npz --max-rel 0.01",
        )
    return BisectRequest(
        model=existing(models[0]),
        data=FeedSpec(existing_or_glob(asked.data), labels_of(asked.labels), batch_axes=parse_axes(asked.batch_axis)),
        precision=asked.precision,
        cache=asked.cache and existing(asked.cache),
        batch=asked.batch,
        max_rel=asked.max_rel,
        max_accuracy_drop=asked.max_accuracy_drop,
        min_snr_db=asked.min_snr,
    )


def _bisect_job(path: Path, gates: Mapping[str, float | None], options: Mapping[str, Any]) -> list[Any]:
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
    with listening(quiet=options["quiet"], log_json=False) as emit:
        done = run(steps, layout, emit, Settings(options["force"]))
    for step in done:
        if step.error is not None:
            raise step.error
    return bisecting.requests(job, layout, gates)


def _bisect(requests: list[Any], options: Mapping[str, Any]) -> None:
    from trtconv.cli import execute
    from trtconv.report.verify import bisect_text

    shown = {"log_json": options["log_json"], "quiet": options["quiet"]}
    results = [execute.call_function("trtconv.stages.verify.bisect:bisect", each, **shown) for each in requests]
    if options["as_json"]:
        click.echo(strict_json.dumps({"schema": 1, "bisect": [dataclasses.asdict(r) for r in results]}, indent=2))
        return
    click.echo("\n\n".join(bisect_text(result) for result in results))

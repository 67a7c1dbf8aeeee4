"""export: engines to where they serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import existing, is_job, job_options, output_options
from trtconv.core.errors import UsageError


@click.group()
def export() -> None:
    """Engines to where they serve."""


@export.command()
@click.argument("model", type=click.Path(path_type=Path), metavar="JOB|ENGINE")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Triton's folder of models.")
@click.option("--name", help="Start of the models' names (default: the job's, or the file's).")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "tensorrt", "python", "onnxruntime"]),
    help="What serves it (default auto: TensorRT's plans by Triton's own backend, others by trtconv in its Python).",
)
@click.option("--instances", type=click.IntRange(1), help="Of each model, at the same time.")
@click.option("--link", is_flag=True, help="Hard links instead of copies.")
@job_options
@output_options
def triton(model: Path, output: Path | None, **options: Any) -> None:
    """Add JOB's engines to a Triton model repository, after building what is not up to date.

    One model per precision, with one engine per GPU of the matrix, batching and shapes from the profiles, instances
    from bench --tune, warm-up from real samples; what is there already, byte for byte, is left alone, other content is
    a new version. Names, rows of preprocessing and more: the job's export section.

    \b
    trtconv export triton JOB -o repository
    trtconv export triton model.engine -o repository --runtime onnxruntime
    tritonserver --model-repository repository
    """
    from trtconv.cli.exporting import export_engine, export_job

    asked = {key: options.pop(key) for key in ("name", "runtime", "instances", "link")}
    given = {key: value for key, value in asked.items() if value}
    if is_job(model):
        export_job(existing(model), output, given, options)
        return
    if options["assignments"] or options["force"]:
        raise UsageError("--set and --force go with a job file", hint="use the command's own options")
    if output is None:
        raise UsageError("where to? -o is missing", hint=f"trtconv export triton {model} -o repository")
    export_engine(existing(model), output, given, options)

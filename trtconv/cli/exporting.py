"""From a job that ran, or an engine, to a Triton repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trtconv.cli.execute import Output, call_function, run_job
from trtconv.core import strict_json
from trtconv.core.errors import UsageError
from trtconv.core.plain import plain


def export_job(path: Path, output: Path | None, given: Mapping[str, Any], options: dict[str, Any]) -> None:
    """``trtconv export triton JOB``: the engines first, where they are not up to date."""
    from trtconv.job.load import load_job

    changes = [f"export.triton.{key}={strict_json.dumps(value)}" for key, value in given.items()]
    if output is not None:
        changes.append(f"export.triton.repository={strict_json.dumps(str(output.absolute()))}")
    elif load_job(path, options["assignments"]).export is None:
        raise UsageError("where to? -o is missing", hint=f"trtconv export triton {path} -o repository")
    options["assignments"] = (*options["assignments"], *changes)
    run_job(path, stage="build", exports=True, output=Output.of(options), **options)


def export_engine(engine: Path, output: Path, given: Mapping[str, Any], options: dict[str, Any]) -> None:
    """``trtconv export triton ENGINE``."""
    from trtconv.pipeline.exporting import FUNCTION, model_name
    from trtconv.report.export import export_text
    from trtconv.stages.export import ExportRequest, Served

    shown = Output.of(options)
    name = given.get("name") or model_name(engine.name.removesuffix(engine.suffix))
    served = Served("", {"": engine.absolute()}, instances=given.get("instances", 1))
    request = ExportRequest(
        output.absolute(), name, (served,), runtime=given.get("runtime", "auto"), link=given.get("link", False)
    )
    made = call_function(FUNCTION, request, log_json=shown.log_json, quiet=shown.quiet)
    click.echo(
        strict_json.dumps({"schema": 1, "export": plain(made)}, indent=2) if shown.as_json else export_text(made)
    )

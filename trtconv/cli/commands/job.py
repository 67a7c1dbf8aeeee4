"""Commands on job files: run, check, schema."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import COUNT, POSITIVE, gate_option, job_options, json_option, output_options
from trtconv.core import strict_json


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--jobs", default=1, show_default=True, type=COUNT, metavar="N", help="Steps at the same time.")
@click.option("--fleet", default="", metavar="ADDRESS", help="Build and measure on a Ray cluster: ray, or HOST:6379.")
@click.option(
    "--fleet-wait", default=120.0, type=POSITIVE, show_default=True, help="Seconds to wait for a node that fits."
)
@click.option("--depfile", type=click.Path(path_type=Path), help="Write what the run read and made, as a Make rule.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the gates as JUnit XML.")
@click.option("--github", is_flag=True, envvar="GITHUB_ACTIONS", help="Print annotations for GitHub Actions.")
@gate_option
@click.option("--locked", is_flag=True, help="Fail if anything would come out other than the lock file says.")
@click.option("--lock", type=click.Path(path_type=Path), help="The lock file (default: JOB's name with .lock.yaml).")
@job_options
@output_options
def run(job: Path, junit: Path | None, github: bool, **options: Any) -> None:
    """Run the whole line of JOB: everything that is not up to date.

    What came out is written to JOB's lock file (digests, versions), unless --set changed the job.

    \b
    trtconv run configs/digits.yaml
    trtconv run configs/digits.yaml --set precision=[fp16] --set build.workspace=512MiB
    trtconv run job.yaml --fleet ray
    """
    from trtconv.cli.execute import Output, run_job

    shown = replace(Output.of(options), junit=junit, github=github)
    run_job(job, output=shown, **options)


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@job_options
@json_option
def check(job: Path, assignments: tuple[str, ...], force: tuple[str, ...], allow_code: bool, as_json: bool) -> None:
    """Validate JOB and say what would run and why; touch nothing.

    All problems are shown at once, with file, line and column. With build.fallback also what would fall back to ONNX
    Runtime, why, and what it costs.
    """
    from trtconv.report.plan import (
        fallback_document,
        fallback_text,
        plan_document,
        plan_text,
        traces_document,
        traces_text,
    )

    found = _forecast(job, assignments, force, allow_code)
    notes, traces = _samples(found)
    notes = [*found.notes, *notes]
    if as_json:
        document = plan_document(str(job), found.rows) | traces_document(traces) | fallback_document(found.fallback())
        document |= found.exports()
        click.echo(strict_json.dumps({**document, "costs": found.costs, "warnings": notes}, indent=2))
        return
    click.echo(f"{job}: valid; files go to {found.output}")
    for note in notes:
        click.echo(f"warning: {note}", err=True)
    click.echo(plan_text(found.rows))
    click.echo("".join(f"what it costs: {line}\n" for line in found.costs), nl=False)
    click.echo(fallback_text(found.fallback()), nl=False)
    click.echo(found.exports_text(), nl=False)
    click.echo(traces_text(traces), nl=False)


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@job_options
@json_option
@click.option("--dot", is_flag=True, help="Print a graph in Graphviz's language: trtconv plan JOB --dot | dot -Tsvg")
def plan(
    job: Path, assignments: tuple[str, ...], force: tuple[str, ...], allow_code: bool, as_json: bool, dot: bool
) -> None:
    """Print the steps of JOB, what they read and make, and which are up to date or why not.

    With build.fallback also what would fall back to ONNX Runtime, why, and what it costs.
    """
    from trtconv.report.plan import fallback_document, fallback_text, plan_document, plan_dot, plan_text

    found = _forecast(job, assignments, force, allow_code)
    for note in found.notes:
        click.echo(f"warning: {note}", err=True)
    if as_json:
        document = plan_document(str(job), found.rows) | fallback_document(found.fallback()) | found.exports()
        click.echo(strict_json.dumps({**document, "costs": found.costs}, indent=2))
    elif dot:
        click.echo(plan_dot(found.rows))
    else:
        click.echo(plan_text(found.rows))
        click.echo("".join(f"what it costs: {line}\n" for line in found.costs), nl=False)
        click.echo(fallback_text(found.fallback()), nl=False)
        click.echo(found.exports_text(), nl=False)


@dataclass(frozen=True)
class _Found:
    """What is known of a job before it runs."""

    job: Any
    layout: Any
    rows: list[Any]
    notes: list[str]
    allow_code: bool
    stages: set[str]

    @property
    def output(self) -> Path:
        """Where its files go."""
        folder: Path = self.layout.folder
        return folder

    @property
    def costs(self) -> list[str]:
        """What the choices of the build cost."""
        from trtconv.pipeline import build_costs

        return build_costs.of(self.job)

    def fallback(self) -> list[Any]:
        """What would fall back, of every engine that may."""
        from trtconv.pipeline.fallback_check import outlook

        return list(outlook(self.job, self.layout, self.rows, allow_code=self.allow_code))

    def exports(self) -> dict[str, Any]:
        """What becomes of the engines after everything else is done and every gate is kept."""
        if self.job.export is None:
            return {}
        from trtconv.pipeline.exporting import models

        return {"export": {"repository": str(self.job.export.triton.repository), "models": models(self.job)}}

    def exports_text(self) -> str:
        """The same as a line."""
        there = self.exports().get("export")
        return f"then, if every gate is kept: {', '.join(there['models'])} to {there['repository']}\n" if there else ""


def _forecast(path: Path, assignments: tuple[str, ...], force: tuple[str, ...], allow_code: bool) -> _Found:
    from trtconv.cli.execute import JobOptions, layout_of, lock_of, require_stages
    from trtconv.job.load import load_job
    from trtconv.pipeline import capability_check, matrix
    from trtconv.pipeline.line import line
    from trtconv.pipeline.plan import forecast
    from trtconv.pipeline.state import State

    require_stages(force)
    layout = layout_of(job := load_job(path, assignments))
    steps = line(job, layout, allow_code=allow_code)
    capability_check.require_leave(job, {node.stage for node in steps}, allow_code=allow_code)
    if job.export is not None:
        from trtconv.pipeline import exporting

        exporting.require(job)
    _, notes = lock_of(path, JobOptions(assignments=assignments))
    rows = forecast(steps, layout, force)
    notes = [*matrix.idle(job), *notes, *State.load(layout.state).claimed_by(path.absolute())]
    wanted = {row.name for row in rows if row.will_run}
    return _Found(job, layout, rows, notes, allow_code, {node.stage for node in steps if node.name in wanted})


def _samples(found: _Found) -> tuple[list[str], list[Any]]:
    """What would be left out of a job's samples, and what becomes of the first ones."""
    from trtconv.pipeline import foresight, sample_check

    return foresight.require(found.job, found.stages), sample_check.traces(found.job)


@click.command()
def schema() -> None:
    """Print the JSON Schema of job files.

    \b
    trtconv schema > job.schema.json
    and as the first line of a job file:
    # yaml-language-server: $schema=job.schema.json
    """
    from trtconv.job.json_schema import json_schema
    from trtconv.job.schema import Job
    from trtconv.job.yaml_tree import EXTENDS

    click.echo(strict_json.dumps(json_schema(Job, {"extends": EXTENDS}), indent=2))

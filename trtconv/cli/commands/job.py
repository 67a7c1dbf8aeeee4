"""Commands on job files: run, check, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import gate_option, job_options, json_option, output_options
from trtconv.core import strict_json


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--jobs", default=1, show_default=True, metavar="N", help="Steps at the same time.")
@click.option("--depfile", type=click.Path(path_type=Path), help="Write what the run read and made, as a Make rule.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the gates as JUnit XML.")
@click.option("--github", is_flag=True, envvar="GITHUB_ACTIONS", help="Print annotations for GitHub Actions.")
@gate_option
@click.option("--locked", is_flag=True, help="Fail if anything would come out other than the lock file says.")
@job_options
@output_options
def run(
    job: Path,
    assignments: tuple[str, ...],
    force: tuple[str, ...],
    allow_code: bool,
    as_json: bool,
    log_json: bool,
    quiet: bool,
    locked: bool,
    jobs: int,
    depfile: Path | None,
    junit: Path | None,
    github: bool,
    bounds: tuple[str, ...],
) -> None:
    """Run the whole line of JOB: everything that is not up to date.

    What came out is written to JOB's lock file (digests, versions), unless --set changed the job.

    \b
    trtconv run configs/digits.yaml
    trtconv run configs/digits.yaml --set precision=[fp16] --set build.workspace=512MiB
    """
    from trtconv.cli.execute import Output, run_job

    steps = run_job(
        job,
        assignments=assignments,
        force=force,
        allow_code=allow_code,
        output=Output(as_json=as_json, log_json=log_json, quiet=quiet, junit=junit, github=github),
        locked=locked,
        jobs=max(jobs, 1),
        bounds=bounds,
    )
    if depfile is not None:
        _write_depfile(depfile, job, [step.node for step in steps])


def _write_depfile(path: Path, job: Path, nodes: list[Any]) -> None:
    from trtconv.core.files import write_text
    from trtconv.job.yaml_tree import chain
    from trtconv.report.depfile import depfile

    made = [file for node in nodes if node.stage in ("build", "infer") for file in node.outputs]
    read = [file for node in nodes for file in node.inputs.values()]
    write_text(path, depfile(made, [*chain(job), *read]))


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@job_options
@json_option
def check(job: Path, assignments: tuple[str, ...], force: tuple[str, ...], allow_code: bool, as_json: bool) -> None:
    """Validate JOB and say what would run and why; touch nothing.

    All problems are shown at once, with file, line and column.
    """
    from trtconv.report.plan import plan_document, plan_text

    output, rows = _forecast(job, assignments, force, allow_code)
    if as_json:
        click.echo(strict_json.dumps(plan_document(str(job), rows), indent=2))
        return
    click.echo(f"{job}: valid; files go to {output}")
    click.echo(plan_text(rows))


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@job_options
@json_option
@click.option("--dot", is_flag=True, help="Print a graph in Graphviz's language: trtconv plan JOB --dot | dot -Tsvg")
def plan(
    job: Path, assignments: tuple[str, ...], force: tuple[str, ...], allow_code: bool, as_json: bool, dot: bool
) -> None:
    """Print the steps of JOB, what they read and make, and which are up to date or why not."""
    from trtconv.report.plan import plan_document, plan_dot, plan_text

    _, rows = _forecast(job, assignments, force, allow_code)
    if as_json:
        click.echo(strict_json.dumps(plan_document(str(job), rows), indent=2))
    else:
        click.echo(plan_dot(rows) if dot else plan_text(rows))


def _forecast(job: Path, assignments: tuple[str, ...], force: tuple[str, ...], allow_code: bool) -> tuple[Path, Any]:
    from trtconv.cli.execute import layout_of, require_stages
    from trtconv.job.load import load_job
    from trtconv.pipeline.line import line
    from trtconv.pipeline.plan import forecast

    require_stages(force)
    layout = layout_of(checked := load_job(job, assignments))
    return layout.folder, forecast(line(checked, layout, allow_code=allow_code), layout, force)


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

"""Commands on job files: run, check, schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trtconv.cli.options import job_options, output_options


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option("--jobs", default=1, show_default=True, metavar="N", help="Steps at the same time.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write the gates as JUnit XML.")
@click.option("--github", is_flag=True, envvar="GITHUB_ACTIONS", help="Print annotations for GitHub Actions.")
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
    junit: Path | None,
    github: bool,
) -> None:
    """Run the whole line of JOB: everything that is not up to date.

    What came out is written to JOB's lock file (digests, versions), unless --set changed the job.

    \b
    trtconv run configs/digits.yaml
    trtconv run configs/digits.yaml --set precision=[fp16] --set build.workspace=512MiB
    """
    from trtconv.cli.execute import Output, run_job

    run_job(
        job,
        assignments=assignments,
        force=force,
        allow_code=allow_code,
        output=Output(as_json, log_json, quiet, junit, github),
        locked=locked,
        jobs=max(jobs, 1),
    )


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@job_options
@output_options
def check(
    job: Path,
    assignments: tuple[str, ...],
    force: tuple[str, ...],
    allow_code: bool,
    as_json: bool,
    log_json: bool,
    quiet: bool,
) -> None:
    """Validate JOB and say what would run and why; touch nothing.

    All problems are shown at once, with file, line and column.
    """
    del log_json, quiet  # nothing long happens here
    from trtconv.cli.execute import layout_of
    from trtconv.job.load import load_job
    from trtconv.pipeline.line import line
    from trtconv.pipeline.plan import forecast
    from trtconv.report.tables import table

    checked = load_job(job, assignments)
    layout = layout_of(checked)
    rows = forecast(line(checked, layout, allow_code=allow_code), layout, force)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "schema": 1,
                    "job": str(job),
                    "valid": True,
                    "steps": [
                        {"name": r.name, "will_run": r.will_run, "why": r.why, "outputs": [str(p) for p in r.outputs]}
                        for r in rows
                    ],
                },
                indent=2,
            )
        )
        return
    cells = [[r.name, "run" if r.will_run else "up to date", r.why, ", ".join(p.name for p in r.outputs)] for r in rows]
    click.echo(f"{job}: valid; files go to {checked.output}")
    click.echo(table(["step", "would", "why", "files"], cells))


@click.command()
def schema() -> None:
    """Print the JSON Schema of job files.

    \b
    trtconv schema > job.schema.json
    and as the first line of a job file:
    # yaml-language-server: $schema=job.schema.json
    """
    from trtconv.job.schema import Job

    click.echo(json.dumps(Job.model_json_schema(), indent=2))

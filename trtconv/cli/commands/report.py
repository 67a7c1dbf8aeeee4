"""report: what a finished job made and measured, as HTML or Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import job_options
from trtconv.core.errors import UsageError

FORMS = {".html": "trtconv.report.html:html", ".md": "trtconv.report.markdown:markdown"}


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help=".html or .md to write (default: print Markdown)."
)
@job_options
def report(
    job: Path, output: Path | None, assignments: tuple[str, ...], force: tuple[str, ...], allow_code: bool
) -> None:
    """Report what JOB made: engines, accuracy, measurements, gates, and where everything came from. Runs nothing.

    An .html file holds its own style and plots and opens from disk, without a network.

    \b
    trtconv report JOB -o report.html
    """
    from trtconv.core.files import write_text
    from trtconv.core.lazy import resolve

    suffix = ".md" if output is None else output.suffix.lower()
    if suffix not in FORMS:
        raise UsageError(f"-o {output}: expected a name that ends in {' or '.join(FORMS)}", hint="-o report.html")
    if force:
        raise UsageError("--force goes with commands that run steps", hint="trtconv run JOB --force STAGE")
    text = resolve(FORMS[suffix])(_page(job, assignments, allow_code))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        click.echo(f"{output}: written")


def _page(path: Path, assignments: tuple[str, ...], allow_code: bool) -> Any:
    from trtconv.cli.execute import layout_of
    from trtconv.engines.plan import manifest
    from trtconv.job.emit import text
    from trtconv.job.load import load_job
    from trtconv.pipeline.finished_job import judged, recorded
    from trtconv.pipeline.line import line
    from trtconv.report.page import page
    from trtconv.report.summary import StepView

    job = load_job(path, assignments)
    layout = layout_of(job)
    steps = recorded(line(job, layout, allow_code=allow_code), layout)
    views = [
        StepView(
            name=s.node.name,
            stage=s.node.stage,
            precision=s.node.precision,
            status=s.status,
            seconds=s.seconds,
            peak_memory=s.peak_memory,
            outputs=s.node.files,
            result=s.result,
        )
        for s in steps
    ]
    facts = {v.precision: manifest.chain(v.result.engine) for v in views if v.stage == "build"}
    chains = {precision: known for precision, known in facts.items() if known is not None}
    values = job.plain(given=True)
    return page(job.name, views, judged(job, steps), chains, text(values, path.absolute().parent))

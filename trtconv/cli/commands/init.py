"""init: a first job file for a model."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from trtconv.cli.options import existing
from trtconv.core.errors import UsageError


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Job file to write (default: print it).")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(model: Path, output: Path | None, force: bool) -> None:
    """Look at MODEL and write a commented job file for it, which works as it is.

    \b
    trtconv init model.onnx -o job.yaml
    """
    from trtconv.core.files import write_text
    from trtconv.report.starter import starter

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} is there already", hint="name another file, or say --force to replace it")
    text = starter(existing(model), Path() if output is None else output.parent)
    if output is None:
        click.echo(text, nl=False)
        return
    named = shlex.quote(str(output))
    write_text(output, text.replace("THIS.yaml", named))
    click.echo(f"{output}: written; next: trtconv check {named}")

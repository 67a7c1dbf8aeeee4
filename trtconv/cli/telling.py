"""What a run came to, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from trtconv.cli.options import error_document
from trtconv.core import strict_json
from trtconv.core.files import write_text

if TYPE_CHECKING:
    from trtconv.cli.execute import Output


def tell(
    name: str,
    done: Sequence[Any],
    failed: Any,
    verdicts: Sequence[Any],
    output: Output,
    matrix: bool,
    exported: Any = None,
) -> None:
    """The result of a run as tables or JSON, and what machines read."""
    from trtconv.report import summary

    views = [
        summary.StepView(
            s.node.name, s.node.stage, s.node.precision, s.status, s.seconds, s.peak_memory, s.node.files, s.result
        )
        for s in done
    ]
    messages = [(step, error.message) for step, error in failed]
    if output.as_json:
        errors = {step: error_document(error) for step, error in failed}
        document = {**summary.document(name, views), "gates": [vars(v) for v in verdicts], "errors": errors}
        if exported is not None:
            from trtconv.core.plain import plain

            document["export"] = plain(exported)
        click.echo(strict_json.dumps(document, indent=2))
    elif any(step.result is not None for step in done):
        click.echo(summary.text(views, verdicts, matrix))
    if exported is not None and not output.as_json:
        from trtconv.report.export import export_text

        click.echo(f"\n{export_text(exported)}")
    tell_machines(name, verdicts, messages, output)


def tell_machines(name: str, verdicts: Sequence[Any], failed: Sequence[tuple[str, str]], output: Output) -> None:
    """JUnit's file and GitHub's annotations, where they are asked for."""
    if output.junit is None and not output.github:
        return
    from trtconv.report import junit

    if output.junit is not None:
        write_text(output.junit, junit.junit(name, verdicts, failed))
    if output.github and (text := junit.github(name, verdicts, failed)):
        click.echo(text, err=output.as_json)

"""inspect: what a file holds, from its own bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import existing


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def inspect(file: Path, as_json: bool) -> None:
    """Show what FILE holds: an .onnx model, an .engine with its facts, or a calibration cache.

    \b
    trtconv inspect model.engine
    """
    from trtconv.report.inspect import describe

    facts: dict[str, Any]
    facts, text = describe(existing(file))
    click.echo(json.dumps(facts, indent=2, default=str) if as_json else text)

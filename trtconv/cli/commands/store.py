"""The store of what steps made: list it, and make room."""

from __future__ import annotations

import datetime
from typing import Any

import click

from trtconv.cli.options import json_option
from trtconv.core import strict_json


@click.command()
@json_option
def ls(as_json: bool) -> None:
    """List what earlier runs made and other jobs may take: the store in TRTCONV_CACHE, or ~/.cache/trtconv."""
    from trtconv.core.units import format_bytes
    from trtconv.pipeline.store import limit
    from trtconv.report.tables import table

    store = _store()
    entries = sorted(store.entries(), key=lambda entry: entry.used, reverse=True)
    total = sum(entry.sizes for entry in entries)
    if as_json:
        rows = [
            {"key": e.folder.name, "stage": e.stage, "files": e.names, "size": e.sizes, "used": e.used} for e in entries
        ]
        click.echo(
            strict_json.dumps({"schema": 1, "folder": str(store.folder), "size": total, "entries": rows}, indent=2)
        )
        return
    click.echo(f"{store.folder}: {len(entries)} entries, {format_bytes(total)} of {format_bytes(limit())}")
    if entries:
        cells = [
            [e.folder.name[:12], e.stage, format_bytes(e.sizes), _day(e.used), ", ".join(e.names)] for e in entries
        ]
        click.echo(table(["key", "stage", "size", "used", "files"], cells, "llr"))


@click.command()
@click.option("--keep", metavar="SIZE", help="Bytes that may stay, such as 2GiB (default: TRTCONV_CACHE_LIMIT).")
@json_option
def gc(keep: str | None, as_json: bool) -> None:
    """Remove what was not used for the longest time until the store is within its limit.

    \b
    trtconv cache gc --keep 0
    """
    from trtconv.core.errors import UsageError
    from trtconv.core.units import format_bytes, parse_bytes
    from trtconv.pipeline.store import limit as default

    try:
        limit = default() if keep is None else parse_bytes(keep)
    except ValueError as error:
        raise UsageError(f"--keep: {error}", hint="for example --keep 2GiB") from None
    store = _store()
    removed = store.collect(limit)
    freed = sum(entry.sizes for entry in removed)
    if as_json:
        click.echo(
            strict_json.dumps({"schema": 1, "removed": [e.folder.name for e in removed], "freed": freed}, indent=2)
        )
        return
    click.echo(f"{store.folder}: removed {len(removed)} entries, {format_bytes(freed)}")


def _store() -> Any:
    from trtconv.core.errors import UsageError
    from trtconv.pipeline.store import Store, default_folder

    folder = default_folder()
    if folder is None:
        raise UsageError("TRTCONV_CACHE is off: there is no store", hint="unset it, or let it name a folder")
    return Store(folder)


def _day(when: float) -> str:
    return datetime.datetime.fromtimestamp(when).strftime("%Y-%m-%d %H:%M")

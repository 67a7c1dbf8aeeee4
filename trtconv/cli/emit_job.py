"""convert --emit-job: the job file that does the same as a command, with what the source asks of the builder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trtconv.core.errors import UsageError
from trtconv.sources.records import Asks


def write(
    model: Path, file: Path, output: Path | None, keys: Mapping[str, tuple[str, Any]], options: Mapping[str, Any]
) -> None:
    """Write the file, and the calibration cache that a source brings beside it.

    Args:
        model: of the command.
        file: to write.
        output: what ``-o`` says, which the name and the folder of the job follow.
        keys: of the job, from the command's options.
        options: of its output.

    Raises:
        UsageError: the options do not fit.
        SourceError: the source cannot be asked.
    """
    from trtconv.core.files import write_text
    from trtconv.job.emit import text

    if options["as_json"]:
        raise UsageError("--emit-job writes a file; --json prints a result", hint="leave one of them out")
    folder = file.absolute().parent
    stem = output.stem if output is not None else model.stem
    built = output.absolute().parent if output is not None else folder / "build"
    job: dict[str, Any] = {"version": 1, "name": stem, "output": str(built), **_nested(model, keys)}
    asked = _asked(model, job, options) or Asks({})
    job = _joined(job, asked.job)
    if asked.cache:
        cache = file.with_name(f"{file.stem}.cache")
        write_text(cache, asked.cache)
        job["calibrate"] = {"cache": str(cache)}
    code = " --allow-code" if options["allow_code"] else ""
    write_text(file, text(job, folder, [f"trtconv run {file.name}{code}", *asked.remarks]))
    click.echo(f"{file}: written; trtconv run {file}{code} makes {stem}.{job.get('precision', ['fp32'])[0]}.engine")


def _joined(job: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the command says, and beside it what the source asks for."""
    mine, theirs = job.get("inputs", {}), asked.get("inputs", {})
    inputs = {name: {**theirs.get(name, {}), **mine.get(name, {})} for name in {**theirs, **mine}}
    return {**asked, **job, **({"inputs": inputs} if inputs else {})}


def _nested(model: Path, keys: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Dotted keys as sections."""
    job: dict[str, Any] = {"source": {"path": str(model)}}
    for dotted, (_, value) in keys.items():
        *sections, last = dotted.split(".")
        place = job
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return job


def _asked(model: Path, job: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """What the source asks for; None where its format asks for nothing."""
    from trtconv import sources
    from trtconv.cli import execute
    from trtconv.cli.options import existing, job_from
    from trtconv.pipeline import sections

    values = {f"source.{name}": (f"source.{name}", value) for name, value in job["source"].items()}
    values["source.path"] = ("MODEL", str(existing(model)))
    wanted = job_from(values, "model", Path.cwd())
    chosen = wanted.source.format
    found = sources.row(chosen) if chosen != "auto" else sources.detect(wanted.source.path)
    spec = sections.source(wanted, found, allow_code=options["allow_code"])
    if not found.asks:
        return None
    return execute.call_function(found.asks, spec, log_json=options["log_json"], quiet=options["quiet"])

"""From a validated job to a run and its report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trtconv.cli.console import listening
from trtconv.core.errors import AccuracyGateError, TrtconvError, UsageError
from trtconv.core.files import write_json


def run_job(
    path: Path,
    *,
    stage: str = "",
    assignments: Sequence[str] = (),
    force: Sequence[str] = (),
    allow_code: bool = False,
    as_json: bool = False,
    log_json: bool = False,
    quiet: bool = False,
    locked: bool = False,
    jobs: int = 1,
) -> None:
    """Run a job file's line, whole or up to a stage, and print what it made.

    Raises:
        TrtconvError: what a stage raised, or an AccuracyGateError after the report.
    """
    from trtconv.job.load import load_job
    from trtconv.pipeline.line import line, upto
    from trtconv.pipeline.lock import Lock
    from trtconv.pipeline.nodes import STAGES
    from trtconv.pipeline.run import Settings

    unknown = [name for name in force if name not in (*STAGES, "all")]
    if unknown:
        from trtconv.core.names import did_you_mean

        raise UsageError(
            f"--force {unknown[0]}: no such stage; {did_you_mean(unknown[0], STAGES)}".rstrip("; "),
            hint=f"stages: {', '.join(STAGES)}, or all",
        )
    if locked and assignments:
        raise UsageError("--locked and --set exclude each other", hint="a lock belongs to the job as it is written")
    job = load_job(path, assignments)
    layout = layout_of(job)
    steps = line(job, layout, allow_code=allow_code)
    steps = upto(steps, stage) if stage else steps
    lock = None if assignments else Lock.read(path.with_name(f"{path.stem}.lock.yaml"))
    settings = Settings(force, jobs, lock, locked)
    report(str(path), steps, layout, settings, as_json=as_json, log_json=log_json, quiet=quiet)


def layout_of(job: Any) -> Any:
    """Where a job's files go."""
    from trtconv.pipeline.layout import Layout

    return Layout(job.output, job.name)


def report(name: str, steps: Any, layout: Any, settings: Any, *, as_json: bool, log_json: bool, quiet: bool) -> None:
    """Bring steps up to date and print the summary; then fail with what failed, or with the gates that were missed.

    Raises:
        TrtconvError: of the first step that failed; of a missed gate when none did.
    """
    from trtconv.pipeline.run import run
    from trtconv.report import summary

    with listening(quiet=quiet, log_json=log_json) as emit:
        done = run(steps, layout, emit, settings)
    views = [
        summary.StepView(
            s.node.name, s.node.stage, s.node.precision, s.status, s.seconds, s.peak_memory, s.node.files, s.result
        )
        for s in done
    ]
    failed = [(step.node.name, step.error) for step in done if step.error is not None]
    if as_json:
        errors = {step: _error_document(error) for step, error in failed}
        click.echo(json.dumps({**summary.document(name, views), "errors": errors}, indent=2, default=str))
    elif len(failed) < len([s for s in done if s.status != "skipped"]):
        click.echo(summary.text(views))
    error = _outcome(failed, views)
    if error is not None:
        error.__dict__["reported"] = True
        raise error


def _error_document(error: TrtconvError) -> dict[str, Any]:
    return {"error": type(error).__name__, "exit_code": error.exit_code, "message": error.message, "hint": error.hint}


def _outcome(failed: list[tuple[str, TrtconvError]], views: Sequence[Any]) -> TrtconvError | None:
    """The error that ends the command: the first failed step's, or all missed gates together."""
    if failed:
        _, first = failed[0]
        if len(failed) > 1:
            first.message = "\n".join([first.message, *(f"also {step}: {error.message}" for step, error in failed[1:])])
        return first
    missed = [f"{v.name}: {text}" for v in views if v.stage == "verify" and v.result for text in v.result.violations]
    if not missed:
        return None
    return AccuracyGateError(
        "\n".join(["accuracy gate missed", *missed]),
        hint="keep the nodes that lose accuracy in FP32 (lower.keep); loosen verify.tolerance only if the difference "
        "is meant",
    )


def make_one(
    stage: str,
    kind: str,
    output: Path,
    values: dict[str, tuple[str, Any]],
    *,
    allow_code: bool = False,
    as_json: bool = False,
    log_json: bool = False,
    quiet: bool = False,
) -> None:
    """An ad-hoc command: run the line up to one stage in a temporary folder; only the file asked for stays.

    Args:
        stage: the last stage.
        kind: the layout's name for the file that it makes.
        output: where that file goes.
        values: the job's keys from options, see ``options.job_from``.
        allow_code: whether code inside the model may run.
        as_json: print one JSON document.
        log_json: events as JSON lines.
        quiet: no progress.
    """
    from trtconv.cli.options import job_from
    from trtconv.pipeline.layout import Layout
    from trtconv.pipeline.line import line, upto
    from trtconv.pipeline.run import Settings

    with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
        job = job_from(values, "model", Path(folder))
        layout = Layout(Path(folder), "model", {kind: output.absolute()})
        steps = upto(line(job, layout, allow_code=allow_code), stage)
        report(stage, steps, layout, Settings(), as_json=as_json, log_json=log_json, quiet=quiet)


def call_stage(stage: str, request: Any, *, log_json: bool, quiet: bool) -> Any:
    """Run one stage on its own, in a child process; its log is kept only if it fails."""
    from trtconv.core import child
    from trtconv.pipeline.nodes import STAGES

    folder = Path(tempfile.mkdtemp(prefix="trtconv-"))
    log = folder / f"{stage}.log"
    with listening(quiet=quiet, log_json=log_json) as emit:
        try:
            value = child.call(STAGES[stage].function, request, emit, log).value
        except child.ChildCrash:
            raise
        except TrtconvError:
            _remove(folder)
            raise
    _remove(folder)
    return value


def print_result(stage: str, result: Any, text: str, as_json: bool) -> None:
    """Print a stage's result as text or JSON."""
    from trtconv.pipeline.run import plain

    click.echo(json.dumps({"schema": 1, stage: plain(stage, result)}, indent=2, default=str) if as_json else text)


def save_json(path: Path, stage: str, result: Any) -> None:
    """Write a stage's result as a JSON file."""
    from trtconv.pipeline.run import plain

    write_json(path, {"schema": 1, stage: plain(stage, result)})


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)

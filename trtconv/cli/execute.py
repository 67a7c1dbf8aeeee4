"""From a validated job to a run and its report."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trtconv.cli import telling
from trtconv.cli.console import listening
from trtconv.core import strict_json, unfinished, writable
from trtconv.core.errors import AccuracyGateError, Interrupted, PerformanceGateError, TrtconvError, UsageError
from trtconv.core.files import write_text


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """How a job file is run.

    Attributes:
        assignments: of ``--set``.
        force: stages to run even if up to date.
        allow_code: whether code inside the model or named by the job may run.
        locked: refuse to run where the lock would change.
        jobs: steps at the same time.
        bounds: gates besides the job's own.
        ignore_gates: whether the job's own are left out.
        lock: the lock file; None: beside the job.
        depfile: file for a rule of Make; None: none.
        fleet: address of a Ray cluster for the steps of engines; empty: none.
        fleet_wait: seconds that a step waits for a node that fits.
    """

    assignments: Sequence[str] = ()
    force: Sequence[str] = ()
    allow_code: bool = False
    locked: bool = False
    jobs: int = 1
    bounds: Sequence[str] = ()
    ignore_gates: bool = False
    lock: Path | None = None
    depfile: Path | None = None
    fleet: str = ""
    fleet_wait: float = 120.0


def run_job(path: Path, *, stage: str = "", exports: bool = False, output: Output, **options: Any) -> list[Any]:
    """Run a job file's line, whole or up to a stage, and print what it made; the steps as they ended.

    Args:
        path: of the job file.
        stage: the last one; empty: all of them.
        exports: whether to export after that stage, as a whole run does.
        output: what to print.
        options: of ``JobOptions``.

    Raises:
        TrtconvError: what a stage raised, or an AccuracyGateError after the report.
    """
    asked = JobOptions(**options)
    try:
        return _run_job(path, stage, output, asked, exports=exports)
    except TrtconvError as error:
        if not error.reported:
            with contextlib.suppress(OSError, TrtconvError):  # its file may be what is wrong
                telling.tell_machines(str(path), [], [("job", error.message)], output)
        raise


def _run_job(path: Path, stage: str, output: Output, asked: JobOptions, *, exports: bool) -> list[Any]:
    from trtconv.job.load import load_job
    from trtconv.pipeline import capability_check, matrix
    from trtconv.pipeline.line import line, upto
    from trtconv.pipeline.run import Settings

    require_stages(asked.force)
    if asked.locked and asked.assignments:
        raise UsageError("--locked and --set exclude each other", hint="a lock belongs to the job as it is written")
    job = load_job(path, asked.assignments, asked.bounds)
    if asked.ignore_gates:  # a new baseline is not judged by the old one
        job = job.replaced(gates=[gate for gate in job.gates if gate.measure == "wider_share"])
    layout = layout_of(job)
    steps = line(job, layout, allow_code=asked.allow_code)
    steps = upto(steps, stage) if stage else steps
    capability_check.require_leave(job, {node.stage for node in steps}, allow_code=asked.allow_code)
    rule = None if asked.depfile is None else _rule(path, steps)
    for file in filter(None, (asked.depfile, output.junit)):
        writable.require_place(file)
    if asked.fleet:
        from trtconv.pipeline import fleet

        fleet.require(asked.fleet)
    exports = job.export is not None and (exports or not stage)
    if exports:
        from trtconv.pipeline import exporting

        exporting.require(job)
    lock, notes = lock_of(path, asked)
    settings = Settings(
        force=asked.force,
        jobs=asked.jobs,
        lock=lock,
        locked=asked.locked,
        job=path.absolute(),
        notes=[*matrix.idle(job), *notes],
        fleet=asked.fleet,
        fleet_wait=asked.fleet_wait,
        foresee=lambda: _foresee(job, steps, layout, asked),
    )
    done = report(str(path), job, steps, layout, settings, output, exports=exports)
    if asked.depfile is not None and rule is not None:
        write_text(asked.depfile, rule)
    return done


def _foresee(job: Any, steps: Sequence[Any], layout: Any, asked: JobOptions) -> None:
    """Refuse what the steps that will run would refuse later."""
    from trtconv.pipeline import foresight
    from trtconv.pipeline.plan import forecast

    wanted = {row.name for row in forecast(steps, layout, asked.force) if row.will_run}
    foresight.require(job, {node.stage for node in steps if node.name in wanted}, here=not asked.fleet)


def _rule(job: Path, nodes: Sequence[Any]) -> str:
    """What the steps read and make, for Make."""
    from trtconv.job.yaml_tree import chain
    from trtconv.report.depfile import depfile

    made = [file for node in nodes if node.stage in ("build", "infer") for file in node.outputs]
    return depfile(made, [*chain(job), *(file for node in nodes for file in node.inputs.values())])


def lock_of(job: Path, asked: JobOptions) -> tuple[Any, list[str]]:
    """The lock of a job, and what there is to say of it; None where none can be written.

    Raises:
        EnvironmentProblem: nothing may be written where ``--lock`` says.
    """
    from trtconv.pipeline.lock import Lock

    if asked.assignments:
        return None, []
    path = asked.lock or job.with_name(f"{job.stem}.lock.yaml")
    if asked.lock is not None and not asked.locked:
        writable.require_place(path)
    elif not asked.locked and not writable.may_write(path.absolute().parent):
        return None, [f"no lock will be written: {path.parent} cannot be written to; --lock FILE names another place"]
    return Lock.read(path), []


def require_stages(force: Sequence[str]) -> None:
    """Refuse a ``--force`` that names no stage.

    Raises:
        UsageError: with the nearest name.
    """
    from trtconv.core.names import did_you_mean
    from trtconv.pipeline.steps import STAGES

    for name in force:
        if name not in (*STAGES, "all"):
            raise UsageError(
                f"--force {name}: no such stage; {did_you_mean(name, STAGES)}".rstrip("; "),
                hint=f"stages: {', '.join(STAGES)}, or all",
            )


def layout_of(job: Any) -> Any:
    """Where a job's files go."""
    from trtconv.pipeline.layout import Layout

    return Layout(job.output, job.name)


@dataclasses.dataclass(frozen=True)
class Output:
    """What the user wants to see, and where.

    Attributes:
        as_json: one JSON document instead of tables.
        log_json: events as JSON lines.
        quiet: no progress.
        junit: file for the gates as JUnit XML.
        github: print annotations for GitHub Actions.
    """

    as_json: bool = False
    log_json: bool = False
    quiet: bool = False
    junit: Path | None = None
    github: bool = False

    @classmethod
    def of(cls, options: dict[str, Any]) -> Output:
        """From a command's options, of which it takes its own."""
        return cls(*(options.pop(name) for name in ("as_json", "log_json", "quiet")))


def report(
    name: str,
    job: Any,
    steps: Any,
    layout: Any,
    settings: Any,
    output: Output,
    *,
    passing: Path | None = None,
    exports: bool = False,
) -> list[Any]:
    """Bring steps up to date, judge the gates, print everything; then fail with what failed.

    Args:
        name: of the whole.
        job: for its gates.
        steps: to bring up to date.
        layout: where files go.
        settings: how to run.
        output: what to print.
        passing: a folder that will be gone: errors tell of its files by their names alone.
        exports: whether to export when nothing failed and every gate is kept.

    Returns:
        The steps as they ended.

    Raises:
        TrtconvError: of the first step that failed; of missed gates when none did.
    """
    from trtconv.pipeline import gates
    from trtconv.pipeline.run import run

    with listening(quiet=output.quiet, log_json=output.log_json) as emit:
        try:
            done = run(steps, layout, emit, settings)
        except Interrupted as stop:  # what was measured so far is told nevertheless
            if any(step.status == "partial" for step in stop.steps):
                telling.tell(name, stop.steps, [], [], output, job.matrix is not None)
                stop.reported = True
            raise
        failed = [(step.node.name, step.error) for step in done if step.error is not None]
        for _, error in failed:
            error.message = error.message.replace(f"{passing}/", "") if passing else error.message
        bounds = [gate for gate in job.gates if _applies(gate, done)]
        wanted = [] if failed else [*bounds, *gates.implied(bounds, done)]
        try:
            verdicts = gates.judge(wanted, done, _remeasure(done, layout, emit))
        except TrtconvError as refusal:  # what was measured is told nevertheless
            verdicts, failed = [], [*failed, ("gates", refusal)]
        exported = None
        if exports and outcome(failed, verdicts) is None:
            try:
                exported = _export(job, done, emit)
            except TrtconvError as refusal:
                failed = [*failed, ("export", refusal)]
    telling.tell(name, done, failed, verdicts, output, job.matrix is not None, exported)
    if (ending := outcome(failed, verdicts)) is not None:
        ending.reported = True
        raise ending
    return done


def _export(job: Any, done: Sequence[Any], emit: Any) -> Any:
    """What a job's section says, in a process of its own."""
    from trtconv.core import child
    from trtconv.pipeline.exporting import FUNCTION, request

    layout = layout_of(job)
    log = layout.state / "logs" / f"{layout.name}.export.log"
    return child.call(FUNCTION, request(job, layout, done, job.export.triton), emit, log).value


def _applies(gate: Any, done: Sequence[Any]) -> bool:
    """Whether the steps of this command make what a gate bounds: trtconv build does not measure latencies."""
    from trtconv.pipeline.gates import MEASURED

    stage = "bench" if gate.measure in MEASURED else "verify" if gate.measure == "accuracy_drop" else "build"
    return any(step.node.stage == stage for step in done)


def _remeasure(done: Sequence[Any], layout: Any, emit: Any) -> Any:
    """How a missed performance gate measures an engine again."""

    def measure(label: str) -> Any:
        from trtconv.core import child
        from trtconv.core.events import Message
        from trtconv.pipeline.steps import STAGES, History

        node = next(step.node for step in done if step.node.stage == "bench" and step.node.precision == label)
        emit(Message(f"{node.name} misses a gate; measuring again"))
        log = layout.state / "logs" / f"{layout.name}.{node.name}.again.log"
        return child.call(STAGES["bench"].function, node.request(History({}, {})), emit, log).value

    return measure


def outcome(failed: list[tuple[str, TrtconvError]], verdicts: Sequence[Any]) -> TrtconvError | None:
    """The error that ends the command: an internal one, else the first failed step's, or all missed gates together."""
    if failed:
        chosen = next((pair for pair in failed if pair[1].exit_code == TrtconvError.exit_code), failed[0])
        others = [f"also {step}: {error.message}" for step, error in failed if error is not chosen[1]]
        chosen[1].message = "\n".join([chosen[1].message, *others])
        return chosen[1]
    missed = [v for v in verdicts if not v.passed]
    if not missed:
        return None
    lines = [f"{v.name}: {v.said}" for v in missed]
    if all(v.hint for v in missed):
        return AccuracyGateError("\n".join(["precision gate missed", *lines]), hint=missed[0].hint)
    if any(v.exit_code == AccuracyGateError.exit_code for v in missed):
        return AccuracyGateError(
            "\n".join(["accuracy gate missed", *lines]),
            hint="keep the nodes that lose accuracy in FP32 (lower.keep); loosen a bound only if the difference is "
            "meant",
        )
    return PerformanceGateError(
        "\n".join(["performance gate missed", *lines]),
        hint="look for what changed since the bound was set: model, versions, clocks; save a new baseline only if the "
        "change is meant",
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

    with unfinished.scratch() as folder:
        job = job_from(values, "model", folder)
        layout = Layout(folder, "model", {kind: output.absolute()}, passing=True)
        steps = upto(line(job, layout, allow_code=allow_code), stage)
        report(stage, job, steps, layout, Settings(), Output(as_json, log_json, quiet), passing=folder)


def call_stage(stage: str, request: Any, *, log_json: bool, quiet: bool) -> Any:
    """Run one stage on its own, see ``call_function``."""
    from trtconv.pipeline.run import PATIENCE
    from trtconv.pipeline.steps import STAGES

    patience = PATIENCE if STAGES[stage].alone else 0.0
    return call_function(STAGES[stage].function, request, log_json=log_json, quiet=quiet, patience=patience)


def call_function(target: str, request: Any, *, log_json: bool, quiet: bool, patience: float = 0.0) -> Any:
    """Run ``module:function`` of type (request, emit) in a child process; its log is kept only if it crashes."""
    from trtconv.core import child

    with unfinished.scratch() as folder, listening(quiet=quiet, log_json=log_json) as emit:
        try:
            return child.call(
                target, request, emit, folder / f"{target.rpartition(':')[2]}.log", patience=patience
            ).value
        except child.ChildCrash:
            unfinished.end(folder)
            raise


def print_result(stage: str, result: Any, text: str, as_json: bool) -> None:
    """Print a stage's result as text or JSON."""
    from trtconv.pipeline.results import plain

    click.echo(strict_json.dumps({"schema": 1, stage: plain(result)}, indent=2) if as_json else text)

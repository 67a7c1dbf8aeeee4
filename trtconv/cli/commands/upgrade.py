"""upgrade: one job under two versions of TensorRT."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import POSITIVE, existing, output_options
from trtconv.core.errors import (
    AccuracyGateError,
    BuildError,
    EnvironmentProblem,
    MissingPackage,
    PerformanceGateError,
    SourceError,
    TrtconvError,
    UsageError,
)


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--from", "old", required=True, type=click.Path(path_type=Path), help="Interpreter with the version in use."
)
@click.option("--to", "new", required=True, type=click.Path(path_type=Path), help="Interpreter with the new version.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help=".html to write.")
@click.option("--slower", default=0.1, type=POSITIVE, show_default=True, help="Share by which a latency may grow.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for what both sides made (default: none stays).")
@click.option("--set", "assignments", multiple=True, metavar="A.B=C", help="Override a key of the job file.")
@click.option("--allow-code", is_flag=True, help="Let code inside the model or named by the job run.")
@output_options
def upgrade(
    job: Path,
    old: Path,
    new: Path,
    output: Path | None,
    slower: float,
    keep: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare JOB under two versions of TensorRT: is it safe to upgrade?

    The model is converted and calibrated once, here; from the FP32 ONNX on, each interpreter runs the job with its own
    TensorRT: typed ONNX, builds and their warnings, layers and types, sizes, and where a GPU is there outputs, latency
    and memory. The verdict is safe, changed or broken; exit 4 where something is not built any more, 6 or 7 where a
    gate is missed that was kept.

    An interpreter needs TensorRT and what trtconv itself needs, not trtconv: this one is used on both sides.

    \b
    python3 -m venv old && old/bin/pip install tensorrt-rtx==1.6.* onnx onnxruntime click PyYAML rich ml_dtypes
    trtconv upgrade JOB --from old/bin/python --to python3 -o upgrade.html
    """
    from trtconv.report.upgrade import upgrade_document, upgrade_text

    pythons = tuple(_interpreter(path) for path in (old, new))
    folder = Path(tempfile.mkdtemp(prefix="trtconv-upgrade-")) if keep is None else keep.absolute()
    try:
        found, text = _compared(existing(job), pythons, folder, slower, options)
        if output is not None:
            _write_page(output, found, job.stem, text)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    from trtconv.core import strict_json

    click.echo(strict_json.dumps(upgrade_document(found), indent=2) if as_json else upgrade_text(found))
    if found.exit_code:
        raise _ending(found)


def _interpreter(path: Path) -> Path:
    """An interpreter, or the one of a virtual environment.

    Raises:
        EnvironmentProblem: there is none.
    """
    named = shutil.which(str(path))
    python = path / "bin" / "python" if path.is_dir() else Path(named) if named else path
    if not os.access(python, os.X_OK):
        raise EnvironmentProblem(
            f"{path}: no Python there", hint=f"python3 -m venv {path} && {path}/bin/pip install tensorrt-rtx==VERSION"
        )
    return python.absolute()


def _compared(job: Path, pythons: tuple[Path, ...], folder: Path, slower: float, options: dict[str, Any]) -> Any:
    """The comparison, and the text of the job that both sides ran."""
    from trtconv.cli.execute import Output, layout_of, run_job
    from trtconv.job.load import load_job
    from trtconv.pipeline.upgrade import compare, side

    shown = Output(log_json=options.pop("log_json"), quiet=options.pop("quiet"))
    assignments = (*options["assignments"], f"output={json.dumps(str(folder / 'shared'))}")
    loaded = load_job(job, assignments)
    model, cache = layout_of(loaded).onnx, None
    stage = "convert"
    if loaded.calibrate is not None:
        cache = loaded.calibrate.cache or layout_of(loaded).cache
        stage = "calibrate" if loaded.calibrate.cache is None else "convert"
    if "typed" in loaded.precision:  # built as it is: nothing comes before
        model = loaded.source.path
    else:
        with contextlib.redirect_stdout(io.StringIO()):  # tables of the shared steps are not what was asked for
            run_job(job, stage=stage, output=shown, assignments=assignments, allow_code=options["allow_code"])
    documents = []
    for name, python in zip(("from", "to"), pythons, strict=True):
        made = side(loaded, model, cache, folder / name)
        documents.append(_run(python, loaded, made, folder / f"{name}.yaml", allow_code=options["allow_code"]))
    _require_any(documents)
    return compare(documents[0], documents[1], slower), (folder / "to.yaml").read_text()


def _run(python: Path, job: Any, made: dict[str, Any], path: Path, *, allow_code: bool) -> dict[str, Any]:
    """``trtconv run`` of this trtconv in another interpreter; its document.

    A job that is refused as a whole, for one of its engines, is run once for each: the others count.

    Raises:
        EnvironmentProblem: it did not come so far as to write one.
    """
    from trtconv.job.emit import text
    from trtconv.pipeline.upgrade import alone

    path.write_text(text(made, path.parent))
    document = _document(python, path, allow_code=allow_code)
    if "steps" in document:
        return document
    whole: dict[str, Any] = {"steps": [], "errors": {}, "gates": []}
    engines = list(alone(job, made))
    for label, one in engines:
        if len(engines) > 1:
            path.write_text(text(one, path.parent))
            document = _document(python, path, allow_code=allow_code)
        if "steps" in document:
            whole["steps"] += document["steps"]
            whole["gates"] += document["gates"]
            whole["errors"] |= document["errors"]
            continue
        name = f"build[{label}]"
        whole["steps"].append({"name": name, "stage": "build", "precision": label, "outputs": [], "result": None})
        whole["errors"][name] = document
    path.write_text(text(made, path.parent))
    return whole


def _require_any(documents: Sequence[dict[str, Any]]) -> None:
    """Refuse a job that no side makes an engine of, as running it would.

    Raises:
        TrtconvError: the first one of the new side.
    """
    if any(step["stage"] == "build" and step["result"] for one in documents for step in one["steps"]):
        return
    error = next(iter(documents[1]["errors"].values()))
    raise _kind(error["exit_code"])(f"neither interpreter builds this job: {error['message']}", hint=error["hint"])


def _kind(code: int) -> type[TrtconvError]:
    """The class of errors that ends with a code."""
    kinds = (UsageError, SourceError, BuildError, AccuracyGateError, PerformanceGateError)
    return next((kind for kind in kinds if kind.exit_code == code), EnvironmentProblem)


def _document(python: Path, job: Path, *, allow_code: bool) -> dict[str, Any]:
    root = str(Path(__file__).parents[3])
    leave = ["--allow-code"] if allow_code else []
    command = [str(python), "-m", "trtconv", "run", str(job), "--json", "--quiet", *leave]
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "VIRTUAL_ENV")}
    env |= {"PYTHONPATH": root, "TRTCONV_CACHE": "off"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        why = done.stderr.strip()[-1000:] or f"exit code {done.returncode}"
        raise EnvironmentProblem(
            f"{python} cannot run the job: {why}",
            hint=f"{python} -m pip install tensorrt-rtx numpy onnx onnxruntime click PyYAML rich ml_dtypes",
        ) from None
    for error in document["errors"].values() if "steps" in document else [document]:
        if error["error"] == MissingPackage.__name__:  # the interpreter is not ready, whatever its TensorRT
            raise EnvironmentProblem(f"{python}: {error['message']}", hint=f"{python} -m {error['hint']}")
    told: dict[str, Any] = _without(document, (f"{job.with_suffix('')}/", f"{job.parent}/shared/"))
    return told


def _without(value: Any, folders: Sequence[str]) -> Any:
    """What a side says, without the folders that it alone has: they are no difference, and may be gone by then."""
    if isinstance(value, dict):
        return {key: part if key == "outputs" else _without(part, folders) for key, part in value.items()}
    if isinstance(value, list):
        return [_without(part, folders) for part in value]
    for folder in folders if isinstance(value, str) else ():
        value = value.replace(folder, "")
    return value


def _write_page(output: Path, found: Any, name: str, job: str) -> None:
    from trtconv.core.files import write_text
    from trtconv.report.html import html
    from trtconv.report.upgrade import upgrade_page

    write_text(output, html(upgrade_page(found, name, job)))


def _ending(found: Any) -> TrtconvError:
    """What the command ends with; everything was told by then."""
    old, new = found.versions
    hint = f"stay with {old}, or change what the reasons name" if old else "change what the reasons name"
    error = _kind(found.exit_code)(f"{new or 'the new version'} breaks this job", hint=hint)
    error.reported = True
    return error

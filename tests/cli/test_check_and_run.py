"""What check lets pass, run does not refuse for a reason that was there to see; and both say it in the same words."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli import broken_jobs
from tests.conftest import Cli
from trtconv.cli.main import cli
from trtconv.core import child
from trtconv.core.errors import (
    AccuracyGateError,
    BuildError,
    EnvironmentProblem,
    PerformanceGateError,
    SourceError,
    TrtconvError,
    UsageError,
)
from trtconv.pipeline.gates import Verdict

pytestmark = pytest.mark.rtx


class Began(Exception):
    """A step was about to run."""


def outcome(*arguments: str) -> tuple[int, str]:
    """Exit code and message of a command in this process."""
    try:
        cli.main(arguments, prog_name="trtconv", standalone_mode=False)
    except TrtconvError as error:
        return error.exit_code, error.message
    except click.ClickException as error:
        return error.exit_code, error.message
    except OSError as error:
        return -1, str(error)
    return 0, ""


@pytest.fixture
def no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Began

    monkeypatch.setattr(child, "call", refuse)
    monkeypatch.setenv("TRTCONV_CACHE", "off")


def alike(folder: Path, draw: random.Random, number: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """Both commands on one broken job; the exit code."""
    here = folder / str(number)
    names = broken_jobs.write(here, draw, draw.choice([1, 1, 1, 2]))
    monkeypatch.chdir(here)
    checked = outcome("check", "job.yaml")
    assert checked[0] in (0, 2, 3, 5), (names, checked)
    if not checked[0]:  # one fault has undone the other
        assert len(names) > 1, names
        with pytest.raises(Began):
            outcome("run", "job.yaml", "-q")
        return 0, names
    before = sorted(here.rglob("*"))
    assert outcome("run", "job.yaml", "-q") == checked, names
    made = {path.relative_to(here).as_posix() for path in here.rglob("*")} - {
        path.relative_to(here).as_posix() for path in before
    }
    assert not [name for name in made if ".trtconv" not in name and name not in ("build", "build/job")], (names, made)
    return checked[0], names


def test_every_fault_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_step: None) -> None:
    for number, name in enumerate([*broken_jobs.FAULTS, *broken_jobs.PLACES]):
        draw = random.Random(number)
        monkeypatch.setattr(draw, "sample", lambda _, count, name=name: [name] * count if count == 1 else [])
        monkeypatch.setattr(draw, "randrange", lambda _: 0)
        monkeypatch.setattr(draw, "choice", lambda _: 1)
        assert alike(tmp_path, draw, number, monkeypatch)[1] == [name]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_broken_jobs_at_random(
    trtconv: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_step: None, seed: int
) -> None:
    def refused(number: int) -> tuple[int, list[str]]:
        return alike(tmp_path, draw, number, monkeypatch)

    draw, count = random.Random(seed), 300 if seed else 40
    passed = {number: names for number in range(count) for code, names in [refused(number)] if not code}
    assert len(passed) < count / 4
    monkeypatch.undo()
    for number, names in passed.items() if seed else ():
        done = trtconv("run", f"{number}/job.yaml", "-q")
        assert done.returncode in (0, 6, 7), (names, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("name", broken_jobs.HARMLESS)
def test_what_is_no_fault_runs(trtconv: Cli, tmp_path: Path, name: str) -> None:
    draw = random.Random(0)
    broken_jobs.write(tmp_path / "a", draw, 0)
    job = {"version": 1, "source": {"path": "model.onnx"}, **broken_jobs.HARMLESS[name]}
    (tmp_path / "a/job.yaml").write_text(broken_jobs.yaml.safe_dump(job))
    for command in ("check", "run"):
        done = trtconv(command, "a/job.yaml")
        assert done.returncode == 0, done.stderr


Places = Callable[[Path], None]


def closed(name: str, mode: int) -> Places:
    def close(folder: Path) -> None:
        (folder / "build/job/.trtconv/job").mkdir(parents=True)
        (folder / "job.lock.yaml").write_text("schema: 1\nsteps: {}\n")
        (folder / name).chmod(mode)

    return close


@pytest.mark.parametrize(
    ("place", "mode", "code"),
    [
        pytest.param("model.onnx", 0, 5, marks=pytest.mark.slow),
        ("x.npy", 0, 5),
        pytest.param("four.txt", 0, 2, marks=pytest.mark.slow),
        ("job.lock.yaml", 0, 5),
        pytest.param("build/job/.trtconv/job", 0o555, 5, marks=pytest.mark.slow),
        ("build/job", 0o555, 5),
    ],
)
def test_places_without_permission(tmp_path: Path, place: str, mode: int, code: int) -> None:
    folder = tmp_path / "a"
    broken_jobs.write(folder, random.Random(0), 0)
    (folder / "job.yaml").write_text(
        "version: 1\nsource: {path: model.onnx}\n"
        "infer: {data: {path: x.npy}, postprocess: [{argmax: {labels: four.txt}}]}\n"
    )
    closed(place, mode)(folder)
    dropped = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    said = []
    for command in ("check", "run"):
        line = [*dropped, sys.executable, "-m", "trtconv", command, "job.yaml"]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        said.append(done.stderr)
    (folder / place).chmod(0o755)
    assert said[0] == said[1]
    assert not (folder / "build/job/job.onnx").exists()


CODES = {
    "internal": TrtconvError("a"),
    "usage": UsageError("b"),
    "source": SourceError("c"),
    "build": BuildError("d"),
    "here": EnvironmentProblem("e"),
    "accuracy": AccuracyGateError("f"),
}


@pytest.mark.parametrize(
    ("failed", "missed", "code"),
    [
        ([], [], 0),
        (["build", "usage"], [], 4),
        (["usage", "build"], [], 2),
        (["here", "internal", "build"], [], 1),
        (["accuracy", "here"], [7], 6),
        (["here"], [6, 7], 5),
        ([], [7, 6], 6),
        ([], [7, 7], 7),
        ([], [6], 6),
    ],
)
def test_which_of_several_failures_wins(failed: list[str], missed: list[int], code: int) -> None:
    """As the README has it: an internal error, the first failed step, accuracy, performance."""
    from trtconv.cli.execute import outcome as ending

    steps = [(f"step {number}", type(CODES[name])(CODES[name].message)) for number, name in enumerate(failed)]
    found = ending(steps, [Verdict(f"gate {one}", False, "said", one) for one in missed])
    assert (0 if found is None else found.exit_code) == code
    if found is not None and not isinstance(found, PerformanceGateError):
        assert all(CODES[name].message in found.message for name in failed)

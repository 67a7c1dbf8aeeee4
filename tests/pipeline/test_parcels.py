"""A step sent elsewhere: its files by content, its paths as they are there, and back."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from trtconv.core import permission
from trtconv.core.errors import BuildError, EnvironmentProblem, UsageError
from trtconv.core.events import Emit, Message, Progress
from trtconv.pipeline import user_code
from trtconv.pipeline.parcels import Answer, Parcel, contents, perform, receive


@dataclass(frozen=True)
class Request:
    """Of the stages below."""

    source: Path
    labels: str
    made: Path
    folder: Path
    interpreter: Path
    more: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Of the stage below."""

    made: Path
    said: str
    text: str


def stage(request: Request, emit: Emit) -> Result:
    """Runs in the folder that stands for the other machine."""
    text = request.source.read_text() + Path(request.labels).read_text() + request.more["all"][0].read_text()
    request.made.write_text(text)
    request.folder.mkdir()
    (request.folder / "inner").mkdir()
    (request.folder / "inner" / "a").write_text("in it")
    return Result(request.made, f"wrote {request.made}", f"{request.interpreter} read {request.source.name}")


def of_the_users(request: Request, emit: Emit) -> Result:
    """Needs a module that lies beside the source, and leave to run it; writes facts."""
    permission.require("the plugin mine")
    text = importlib.import_module("mine").TEXT
    request.made.with_suffix(".json").write_text(json.dumps({"path": str(request.source)}))
    return Result(request.made, text, "")


def warning(request: Request, emit: Emit) -> None:
    emit(Message(f"{request.source}: old", "warning"))
    emit(Progress("working", 1, 2))
    time.sleep(0.2)


def failing(request: Request, emit: Emit) -> Result:
    raise BuildError(f"{request.source}: cannot", hint=f"look at {request.source}")


def sent(tmp_path: Path, function: str, **changes: object) -> tuple[Parcel, dict[str, bytes], Request]:
    for name, text in {"a/source": "one ", "b/labels.txt": "two ", "c/more": "three"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    reads = [tmp_path / "a/source", tmp_path / "b/labels.txt", tmp_path / "c"]
    found = contents(reads)
    request = Request(
        reads[0],
        str(reads[1]),
        tmp_path / "out/made",
        tmp_path / "out/m.parts",
        Path("/usr/bin/python3"),
        {"all": (tmp_path / "c/more",)},
    )
    parcel = Parcel(
        function=f"tests.pipeline.test_parcels:{function}",
        aside="",
        request=request,
        reads={name: digest for name, (digest, _) in found.items()},
        makes=(str(request.made), str(request.folder)),
        packages={},
        alone=False,
        **changes,
    )
    return parcel, {digest: path.read_bytes() for digest, path in found.values()}, request


def nobody(_: object) -> None:
    pass


@pytest.mark.parametrize("alone", [False, True])
def test_files_go_and_come_back_under_their_own_names(tmp_path: Path, alone: bool) -> None:
    parcel, held, request = sent(tmp_path, "stage")
    for name in parcel.reads:
        Path(name).unlink()  # the other machine has none of them
    answer = perform(parcel, held.__getitem__, nobody)
    assert answer.error is None
    outcome = receive(answer, [request.made, request.folder], tmp_path / "log")
    assert request.made.read_text() == "one two three"
    assert (request.folder / "inner/a").read_text() == "in it"
    assert outcome.value == Result(request.made, f"wrote {request.made}", "/usr/bin/python3 read source")


def test_what_it_says_comes_back_with_it_and_its_progress_before(tmp_path: Path) -> None:
    parcel, held, request = sent(tmp_path, "warning")
    heard: list[object] = []
    answer = perform(replace(parcel, makes=()), held.__getitem__, heard.append)
    assert answer.error is None
    assert answer.told == (Message(f"{request.source}: old", "warning"),)
    assert heard == [Progress("working", 1, 2)]
    assert answer.seconds >= 0.2


def test_what_a_killed_step_left_is_gone_with_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of one that is under way, or young."""
    place = tmp_path / "tmp"
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    for name in ("killed", "running", "young"):
        (place / f"trtconv-fleet-{name}").mkdir(parents=True)
        alive = place / f"trtconv-fleet-{name}/.alive"
        alive.write_text("")
        os.utime(alive, None if name == "young" else (1e9, 1e9))
    parcel, held, _ = sent(tmp_path, "warning")
    with (place / "trtconv-fleet-running/.alive").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert perform(replace(parcel, makes=()), held.__getitem__, nobody).error is None
    folders = [path.name for path in place.iterdir() if path.is_dir()]
    assert sorted(folders) == ["trtconv-fleet-running", "trtconv-fleet-young"]


def test_an_error_is_an_answer_with_the_paths_of_here(tmp_path: Path) -> None:
    parcel, held, request = sent(tmp_path, "failing")
    answer = perform(parcel, held.__getitem__, nobody)
    assert (answer.error.message, answer.error.hint) == (f"{request.source}: cannot", f"look at {request.source}")
    with pytest.raises(BuildError):
        receive(answer, [request.made], tmp_path / "log")
    assert not request.made.exists()


def test_another_version_there_is_refused_by_name(tmp_path: Path) -> None:
    parcel, held, _ = sent(tmp_path, "stage", trtconv="9.9")
    error = perform(parcel, held.__getitem__, nobody).error
    assert isinstance(error, EnvironmentProblem)
    assert "trtconv" in error.message
    assert "wanted 9.9" in error.message


@pytest.mark.parametrize("may", [True, False])
def test_the_users_code_travels_and_runs_by_the_senders_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may: bool
) -> None:
    """Whatever the other machine lets its own user do."""
    monkeypatch.setenv("TRTCONV_ALLOW_CODE", "0" if may else "1")
    code = tmp_path / "a/mine.py"
    parcel, held, request = sent(tmp_path, "of_the_users")
    code.write_text("TEXT = 'ran'")
    monkeypatch.setenv("PYTHONPATH", f"{code.parent}:{os.environ['PYTHONPATH']}")
    found = contents([*map(Path, parcel.reads), code])
    held |= {digest: path.read_bytes() for digest, path in found.values()}
    parcel = replace(
        parcel,
        reads={name: digest for name, (digest, _) in found.items()},
        makes=(str(request.made.with_suffix(".json")),),
        folders=user_code.folders_of([code]),
        allow_code=may,
    )
    assert parcel.folders[0] == str(code.parent)
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"].partition(":")[2])
    code.unlink()
    answer = perform(parcel, held.__getitem__, nobody)
    if may:
        assert answer.error is None
        assert answer.value.said == "ran"
        receive(answer, [request.made.with_suffix(".json")], tmp_path / "log")
        assert json.loads(request.made.with_suffix(".json").read_text()) == {"path": str(request.source)}
    else:
        assert isinstance(answer.error, UsageError)
        assert "--allow-code" in answer.error.hint


def test_nothing_comes_back_half(tmp_path: Path) -> None:
    """A folder replaces the one before as a whole."""
    old = tmp_path / "m.parts"
    old.mkdir()
    (old / "of_before").write_text("x")
    receive(Answer(made={f"{old}/new": b"y"}), [old], tmp_path / "log")
    assert [path.name for path in old.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

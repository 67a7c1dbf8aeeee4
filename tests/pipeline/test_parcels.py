"""A step sent elsewhere: its files by content, its paths as they are there, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trtconv.core.errors import BuildError, EnvironmentProblem
from trtconv.core.events import Emit
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
    answer = perform(parcel, held, nobody)
    assert answer.error is None
    outcome = receive(answer, [request.made, request.folder], tmp_path / "log")
    assert request.made.read_text() == "one two three"
    assert (request.folder / "inner/a").read_text() == "in it"
    assert outcome.value == Result(request.made, f"wrote {request.made}", "/usr/bin/python3 read source")


def test_an_error_is_an_answer_with_the_paths_of_here(tmp_path: Path) -> None:
    parcel, held, request = sent(tmp_path, "failing")
    answer = perform(parcel, held, nobody)
    assert (answer.error.message, answer.error.hint) == (f"{request.source}: cannot", f"look at {request.source}")
    with pytest.raises(BuildError):
        receive(answer, [request.made], tmp_path / "log")
    assert not request.made.exists()


def test_another_version_there_is_refused_by_name(tmp_path: Path) -> None:
    parcel, held, _ = sent(tmp_path, "stage", trtconv="9.9")
    error = perform(parcel, held, nobody).error
    assert isinstance(error, EnvironmentProblem)
    assert "trtconv" in error.message
    assert "wanted 9.9" in error.message


def test_nothing_comes_back_half(tmp_path: Path) -> None:
    """A folder replaces the one before as a whole."""
    old = tmp_path / "m.parts"
    old.mkdir()
    (old / "of_before").write_text("x")
    receive(Answer(made={f"{old}/new": b"y"}), [old], tmp_path / "log")
    assert [path.name for path in old.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

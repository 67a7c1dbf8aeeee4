"""Steps run when something that decides their outcome changed, and only then."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from trtconv.core.errors import ConversionError
from trtconv.core.events import NodeFinished
from trtconv.pipeline import nodes
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.nodes import Node, Stage
from trtconv.pipeline.plan import forecast
from trtconv.pipeline.run import run

HERE = "tests.pipeline.test_run"


@dataclass(frozen=True)
class Join:
    parts: tuple[Path, ...]
    output: Path
    suffix: str


@dataclass(frozen=True)
class Joined:
    output: Path
    length: int
    share: float


def join(request, emit):
    text = "".join(part.read_text() for part in request.parts) + request.suffix
    if "bad" in text:
        raise ConversionError("bad input")
    request.output.write_text(text)
    return Joined(request.output, len(text), float("inf"))


@pytest.fixture
def line(tmp_path, monkeypatch):
    """Two steps: ``first`` joins a and a suffix, ``second`` joins first's output and b."""
    monkeypatch.setitem(nodes.STAGES, "join", Stage(f"{HERE}:join", f"{HERE}:Joined"))
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    layout = Layout(tmp_path / "out", "job")

    def steps(suffix="!"):
        first, second = layout.folder / "first", layout.folder / "second"
        a, b = tmp_path / "a", tmp_path / "b"
        return [
            Node("first", "join", lambda _: Join((a,), first, suffix), (first,), inputs={"source": a},
                 options={"suffix": suffix}),
            Node("second", "join", lambda _: Join((first, b), second, ""), (second,), needs=("first",),
                 inputs={"data": b}),
        ]  # fmt: skip

    def go(suffix="!", force=()):
        events = []
        done = run(steps(suffix), layout, events.append, force)
        finished = [e.node for e in events if isinstance(e, NodeFinished) and e.status == "done"]
        assert finished == [s.node.name for s in done if s.status == "done"]
        return finished, done

    go.steps, go.layout = steps, layout
    return go


def test_second_run_does_nothing_and_gives_the_same_results(line):
    ran, first = line()
    assert ran == ["first", "second"]
    ran, second = line()
    assert ran == []
    assert [s.result for s in second] == [s.result for s in first]
    assert second[1].result == Joined(line.layout.folder / "second", 3, float("inf"))


def test_only_what_depends_on_a_change_runs(line, tmp_path):
    line()
    (tmp_path / "b").write_text("B")
    assert line()[0] == ["second"]
    assert line(suffix="?")[0] == ["first", "second"]
    (tmp_path / "a").write_text("A")
    assert line(suffix="?")[0] == ["first", "second"]
    assert (line.layout.folder / "second").read_text() == "A?B"


def test_same_bytes_again_stop_the_chain(line):
    line()
    assert line(force=["join"])[0] == ["first", "second"]
    os.utime(line.layout.folder / "first")
    assert line()[0] == []
    (line.layout.folder / "first").unlink()
    assert line()[0] == ["first"]


def test_outputs_changed_by_hand_are_made_again(line):
    line()
    (line.layout.folder / "second").write_text("mine")
    assert line()[0] == ["second"]
    assert (line.layout.folder / "second").read_text() == "a!b"


def test_same_size_and_time_but_another_file_is_noticed(line, tmp_path):
    line()
    old = (tmp_path / "a").stat()
    (tmp_path / "new").write_text("A")
    os.utime(tmp_path / "new", ns=(old.st_atime_ns, old.st_mtime_ns))
    (tmp_path / "new").replace(tmp_path / "a")
    assert line()[0] == ["first", "second"]


def test_a_failed_step_leaves_what_was_finished(line, tmp_path):
    (tmp_path / "b").write_text("bad")
    with pytest.raises(ConversionError, match="bad input"):
        line()
    assert not (line.layout.folder / "second").exists()
    (tmp_path / "b").write_text("b")
    assert line()[0] == ["second"]


def test_a_broken_state_file_counts_as_none(line):
    line()
    (line.layout.state / "state.json").write_text('{"schema": 1, "rec')
    assert line()[0] == ["first", "second"]


def test_forecast_says_why_and_touches_nothing(line, tmp_path):
    before = forecast(line.steps(), line.layout)
    assert [(f.name, f.why) for f in before] == [("first", "never ran"), ("second", "after first")]
    assert not line.layout.folder.exists()
    line()
    assert [f.will_run for f in forecast(line.steps(), line.layout)] == [False, False]
    (tmp_path / "b").write_text("B")
    assert forecast(line.steps(), line.layout)[1].why == "input changed: data"
    assert forecast(line.steps("?"), line.layout)[0].why == "option changed: suffix"
    (line.layout.folder / "first").unlink()
    assert forecast(line.steps(), line.layout)[0].why == "first is missing"

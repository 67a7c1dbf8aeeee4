"""Steps run when something that decides their outcome changed, and only then."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from trtconv.core.errors import ConversionError
from trtconv.core.events import NodeFinished
from trtconv.core.files import data_of
from trtconv.pipeline import steps as step_table
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.plan import forecast
from trtconv.pipeline.run import Settings, run
from trtconv.pipeline.steps import Node, Stage
from trtconv.pipeline.store import Store

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


@dataclass(frozen=True)
class Nap:
    began: float
    ended: float


def touch(files, emit):
    for path in files:
        path.write_text(path.name)
    return Joined(files[0], 1, 0.0)


def nap(_, emit):
    began = time.monotonic()
    time.sleep(3)  # longer than a process may take to start on a busy machine
    return Nap(began, time.monotonic())


def join(request, emit):
    text = "".join(part.read_text() for part in request.parts) + request.suffix
    if "bad" in text:
        raise ConversionError("bad input")
    if "large" in text:
        data_of(request.output).write_text(text)
    request.output.write_text(text)
    return Joined(request.output, len(text), float("inf"))


@pytest.fixture
def line(tmp_path, monkeypatch):
    """Two steps: ``first`` joins a and a suffix, ``second`` joins first's output and b."""
    monkeypatch.setenv("TRTCONV_CACHE", "off")
    monkeypatch.setitem(step_table.STAGES, "join", Stage(f"{HERE}:join", f"{HERE}:Joined"))
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    layout = Layout(tmp_path / "out", "job")

    def steps(suffix="!"):
        first, second = layout.folder / "first", layout.folder / "second"
        a, b = tmp_path / "a", tmp_path / "b"
        return [
            Node(
                "first",
                "join",
                lambda _: Join((a,), first, suffix),
                (first,),
                inputs={"source": a},
                options={"suffix": suffix},
            ),
            Node(
                "second",
                "join",
                lambda _: Join((first, b), second, ""),
                (second,),
                needs=("first",),
                inputs={"data": b},
            ),
        ]

    def go(suffix="!", force=()):
        events = []
        done = run(steps(suffix), layout, events.append, Settings(force))
        if errors := [step.error for step in done if step.error]:
            raise errors[0]
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


def test_files_named_in_any_order_are_up_to_date(tmp_path, monkeypatch):
    monkeypatch.setenv("TRTCONV_CACHE", "off")
    monkeypatch.setitem(step_table.STAGES, "touch", Stage(f"{HERE}:touch", f"{HERE}:Joined"))
    files = tuple(tmp_path / "out" / name for name in ("b", "c", "a"))
    node = Node("touch", "touch", lambda _: files, files)
    statuses = [run([node], Layout(tmp_path / "out", "job"), lambda _: None)[0].status for _ in range(2)]
    assert statuses == ["done", "up to date"]


def test_only_what_depends_on_a_change_runs(line, tmp_path):
    line()
    (tmp_path / "b").write_text("B")
    assert line()[0] == ["second"]
    assert line(suffix="?")[0] == ["first", "second"]
    (tmp_path / "a").write_text("A")
    assert line(suffix="?")[0] == ["first", "second"]
    assert (line.layout.folder / "second").read_text() == "A?B"


def test_a_change_is_seen_in_a_file_with_the_signs_of_globs(tmp_path, monkeypatch):
    monkeypatch.setenv("TRTCONV_CACHE", "off")
    monkeypatch.setitem(step_table.STAGES, "join", Stage(f"{HERE}:join", f"{HERE}:Joined"))
    source, made = tmp_path / "net[1].txt", tmp_path / "out" / "made"
    node = Node("one", "join", lambda _: Join((source,), made, ""), (made,), inputs={"source": source})
    for text, status in (("a", "done"), ("a", "up to date"), ("A", "done")):
        source.write_text(text)
        assert run([node], Layout(tmp_path / "out", "job"), lambda _: None)[0].status == status
    assert made.read_text() == "A"


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


def test_a_model_in_two_files_is_one_output(line, store, tmp_path):
    assert line("large")[0] == ["first", "second"]
    assert line("large")[0] == []
    assert not list(store.entries())
    data_of(tmp_path / "out" / "first").write_text("another")
    assert line("large")[0] == ["first"]
    data_of(tmp_path / "out" / "second").unlink()
    assert line("large")[0] == ["second"]


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
    (tmp_path / "a").write_text("bad")
    assert [(s.status, s.result) for s in run(line.steps(), line.layout, lambda _: None)] == [
        ("failed", None),
        ("skipped", None),
    ]
    (tmp_path / "a").write_text("a")
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


@pytest.fixture
def store(tmp_path, monkeypatch, line):
    monkeypatch.setenv("TRTCONV_CACHE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


def test_another_folder_takes_what_was_made_and_points_to_its_own_files(line, store, tmp_path):
    line()
    line.layout.folder.rename(tmp_path / "elsewhere")
    ran, done = line()
    assert ran == []
    assert [s.status for s in done] == ["from cache", "from cache"]
    assert done[1].result.output == line.layout.folder / "second"
    assert (line.layout.folder / "second").read_text() == "a!b"
    assert line()[1][0].status == "up to date"


def test_results_point_to_the_folder_that_took_them(line, store, tmp_path, monkeypatch):
    line()
    moved = Layout(tmp_path / "new", "job")
    node = line.steps()[0]
    here = dataclasses.replace(node, outputs=(moved.folder / "first",))
    (step,) = run([here], moved, lambda _: None)
    assert step.status == "from cache"
    assert step.result.output == moved.folder / "first"


def test_force_does_not_take_from_the_store(line, store):
    line()
    assert line(force=["join"])[0] == ["first", "second"]


def test_a_damaged_entry_is_never_a_hit(line, store, tmp_path):
    line()
    for entry in store.entries():
        (entry.folder / "0").write_text("torn")
    shutil.rmtree(line.layout.folder)
    assert line()[0] == ["first", "second"]
    assert (line.layout.folder / "second").read_text() == "a!b"


def test_the_least_recently_used_entries_go_first(line, store):
    line()
    line(suffix="?")
    entries = sorted(store.entries(), key=lambda e: e.used)
    kept = entries[-1]
    removed = store.collect(kept.sizes)
    assert {e.folder for e in removed} == {e.folder for e in entries[:-1]}
    assert [e.folder for e in store.entries()] == [kept.folder]


def test_jobs_that_share_a_folder_do_not_disturb_each_other(tmp_path, line):
    """Each has its own memory, and leaves alone what another is just writing."""
    statuses = {}
    for _ in range(2):
        for name in ("one", "two"):
            layout = Layout(tmp_path / "shared", name)
            file = layout.folder / f"{name}.txt"
            source = tmp_path / {"one": "a", "two": "b"}[name]
            request = Join((source,), file, name)
            (layout.folder / ".other.txt.x.tmp").touch() if layout.folder.exists() else None
            step = Node("only", "join", lambda _, r=request: r, (file,), inputs={"source": source})
            statuses[name] = [s.status for s in run([step], layout, lambda _: None)]
    assert statuses == {"one": ["up to date"], "two": ["up to date"]}
    assert (tmp_path / "shared/.other.txt.x.tmp").exists()


def test_steps_run_beside_each_other_but_measurements_run_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TRTCONV_CACHE", "off")
    monkeypatch.setitem(step_table.STAGES, "nap", Stage(f"{HERE}:nap", f"{HERE}:Nap"))
    monkeypatch.setitem(step_table.STAGES, "clock", Stage(f"{HERE}:nap", f"{HERE}:Nap", alone=True))
    stages = ["nap", "nap", "clock", "nap", "clock"]
    steps = [Node(f"{stage}{i}", stage, lambda _: None, ()) for i, stage in enumerate(stages)]
    done = run(steps, Layout(tmp_path, "job"), lambda _: None, Settings(jobs=2))
    spans = {s.node.name: (s.result.began, s.result.ended) for s in done}

    def overlap(one, other):
        return spans[one][0] < spans[other][1] and spans[other][0] < spans[one][1]

    assert overlap("nap0", "nap1")
    for clock in ("clock2", "clock4"):
        assert not [name for name in spans if name != clock and overlap(clock, name)]

"""Unchanged means unchanged: content decides what runs again and what --locked says, whatever was done to the files."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.small_jobs import one_op
from trtconv.cli.execute import layout_of
from trtconv.job.load import load_job
from trtconv.pipeline import user_code
from trtconv.pipeline.line import line
from trtconv.pipeline.lock import Lock
from trtconv.pipeline.plan import forecast
from trtconv.pipeline.run import Settings, run
from trtconv.pipeline.state import State
from trtconv.pipeline.steps import Node

JOB = """\
version: 1
output: out
source: {path: model.onnx}
convert: {check_data: check.npz}
calibrate: {data: {path: train}}
precision: [fp16]
verify: {data: {path: "parts/x*.npy", labels: labels.npy}}
infer: {data: {path: x.npy}, format: csv, postprocess: [{argmax: {labels: classes.txt}}]}
"""
READ = {
    "model.onnx": "convert",
    "check.npz": "convert",
    "train": "calibrate",
    "parts": "verify",
    "labels.npy": "verify",
    "x.npy": "infer",
    "classes.txt": "infer",
}
AFTER = {
    "convert": "convert calibrate lower build verify infer",
    "calibrate": "calibrate lower build verify infer",
    "verify": "verify",
    "infer": "infer",
}


@dataclass
class Checkout:
    """A job with its files, as somebody has it in a folder."""

    folder: Path
    kept: dict[str, bytes] = field(default_factory=dict)

    def make(self) -> Checkout:
        (self.folder / "train/more").mkdir(parents=True)
        (self.folder / "parts").mkdir()
        one_op(self.folder / "model.onnx")
        rng = np.random.default_rng(0)
        for name in ("train/a", "train/more/b", "parts/x0", "parts/x1", "x"):
            np.save(self.folder / f"{name}.npy", rng.normal(size=(2, 4)).astype(np.float32))
        np.savez(self.folder / "check.npz", x=rng.normal(size=(2, 4)).astype(np.float32))
        np.save(self.folder / "labels.npy", np.zeros(4, np.int64))
        (self.folder / "classes.txt").write_text("a\nb\nc\nd\n")
        (self.folder / "job.yaml").write_text(JOB)
        self.kept = self.content()
        return self

    def content(self) -> dict[str, bytes]:
        """What every input file holds, links followed."""
        found = {}
        for name in READ:
            path = self.folder / name
            for folder, _, files in os.walk(path, followlinks=True) if path.is_dir() else [(self.folder, [], [name])]:
                for file in files:
                    if (one := Path(folder) / file).is_file():
                        found[one.relative_to(self.folder).as_posix()] = one.read_bytes()
        return found

    def steps(self) -> tuple[list[Node], object]:
        job = load_job(self.folder / "job.yaml")
        layout = layout_of(job)
        return line(job, layout), layout

    def run(self) -> None:
        steps, layout = self.steps()
        done = run(steps, layout, lambda _: None, Settings(lock=Lock.read(self.folder / "job.lock.yaml")))
        assert all(step.result is not None for step in done), [step.error for step in done]

    def stale(self) -> set[str]:
        """Stages that would run."""
        steps, layout = self.steps()
        rows = forecast(steps, layout)
        return {row.name.partition("[")[0] for row in rows if row.will_run}

    def unlocked(self) -> set[str]:
        """Stages of which --locked says that they would change; those behind them it judges by what is locked."""
        steps, layout = self.steps()
        changes = Lock.read(self.folder / "job.lock.yaml").would_change(steps, State.load(layout.state))
        return {change.partition(":")[0].partition("[")[0] for change in changes}

    def expected(self) -> tuple[set[str], set[str]]:
        """By content alone: stages that must run, and stages that the lock must name."""
        now, changed = self.content(), set()
        for name in {*now, *self.kept}:
            top = name.partition("/")[0]
            if now.get(name) != self.kept.get(name) and (top != "parts" or Path(name).name.startswith("x")):
                changed.add(READ[top])
        return {stage for first in changed for stage in AFTER[first].split()}, changed

    def restore(self) -> None:
        for name in READ:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        for name, data in self.kept.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def other(data: bytes, draw: random.Random) -> bytes:
    """As long, one byte differs: at the end, so that headers stay."""
    at = len(data) - 1 - draw.randrange(min(len(data), 8))
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def same_size_and_time(path: Path, draw: random.Random) -> None:
    """Written to in place, or put in place of the old one; the time of its content is the old one's."""
    times, data = path.stat(), other(path.read_bytes(), draw)
    if draw.random() < 0.5:
        path.write_bytes(data)
    else:
        new = path.with_name(".new")
        new.write_bytes(data)
        new.replace(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def touched(path: Path, draw: random.Random) -> None:
    os.utime(path, (draw.randrange(2**31),) * 2)


def copied(path: Path, draw: random.Random) -> None:
    """The same bytes in another file of that name."""
    shutil.copy2(path, path.with_name(".new"))
    path.with_name(".new").replace(path)


def linked(path: Path, draw: random.Random) -> None:
    """A link to a file with the same bytes, or with others."""
    target = path.parent.parent / f"elsewhere{draw.random()}"
    target.write_bytes(path.read_bytes() if draw.random() < 0.5 else other(path.read_bytes(), draw))
    path.unlink()
    path.hardlink_to(target) if draw.random() < 0.5 else path.symlink_to(target)


def linked_folder(path: Path, draw: random.Random) -> None:
    """The folder around it lies elsewhere now, and a link leads there."""
    folder = path.parent
    if not (folder / "../job.yaml").resolve().exists() and not (folder / "../../job.yaml").resolve().exists():
        return
    moved = folder.parent / f".moved{draw.random()}"
    folder.rename(moved)
    folder.symlink_to(moved)
    if draw.random() < 0.5:
        same_size_and_time(folder / path.name, draw)


def removed_and_back(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def replaced(path: Path, draw: random.Random) -> None:
    path.write_bytes(other(path.read_bytes(), draw))


def beside(path: Path, draw: random.Random) -> None:
    """One more file in its folder."""
    shutil.copy(path, path.with_name(f"{draw.choice(['x', 'y'])}{draw.randrange(5, 9)}.npy"))


Edit = Callable[[Path, random.Random], None]
EDITS: list[Edit] = [same_size_and_time, touched, copied, linked, linked_folder, removed_and_back, replaced, beside]


def scenarios(checkout: Checkout, count: int, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(count):
        files = sorted(checkout.content())
        said = []
        for _ in range(draw.randrange(1, 4)):
            name, edit = draw.choice(files), draw.choice(EDITS)
            if edit is linked_folder and "/" not in name:
                continue
            if (checkout.folder / name).is_file():
                edit(checkout.folder / name, draw)
                said.append(f"{edit.__name__}({name})")
        must, locked = checkout.expected()
        assert (checkout.stale(), checkout.unlocked()) == (must, locked), (number, said)
        checkout.restore()
        assert (checkout.stale(), checkout.unlocked()) == (set(), set()), (number, said)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("unchanged") / "first").make()
    checkout.run()
    return checkout


pytestmark = pytest.mark.rtx


def test_what_runs_again_is_what_must(finished: Checkout) -> None:
    scenarios(finished, 60, 0)


@pytest.mark.slow
def test_what_runs_again_is_what_must_in_200_scenarios(finished: Checkout) -> None:
    scenarios(finished, 200, 1)


def test_a_copied_and_a_moved_checkout_are_up_to_date(finished: Checkout, tmp_path: Path) -> None:
    copy = Checkout(tmp_path / "copy", finished.kept)
    shutil.copytree(finished.folder, copy.folder)
    assert (copy.stale(), copy.unlocked()) == (set(), set())
    copy.folder.rename(tmp_path / "moved")
    moved = Checkout(tmp_path / "moved", finished.kept)
    assert (moved.stale(), moved.unlocked()) == (set(), set())
    same_size_and_time(moved.folder / "model.onnx", random.Random(0))
    assert moved.stale() == set(AFTER["convert"].split())
    _, layout = moved.steps()
    told = json.dumps([dict(record.result) for record in State.load(layout.state).records.values()])
    assert str(tmp_path / "moved") in told
    assert str(finished.folder) not in told


def test_no_path_of_this_machine_decides(finished: Checkout) -> None:
    steps, layout = finished.steps()
    state = State.load(layout.state)
    assert str(finished.folder.parent) not in json.dumps([state.key(node) for node in steps])
    assert str(finished.folder.parent) not in (finished.folder / "job.lock.yaml").read_text()


def test_a_file_whose_times_tell_nothing_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with whole seconds, where two changes get one time; and a file that was just written."""
    file, state = tmp_path / "file", State(tmp_path / "out/.trtconv/job")
    file.write_bytes(b"one")
    first, times = state.digest(file), file.stat()
    file.write_bytes(b"two")
    real = Path.stat

    def coarse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = real(path, follow_symlinks=follow_symlinks)
        if path != file:
            return found
        values = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        values |= {"st_ctime_ns": 10**9, "st_mtime_ns": 10**9, "st_ino": times.st_ino}
        return type("Stat", (), values)()

    monkeypatch.setattr(Path, "stat", coarse)
    second = state.digest(file)
    assert second != first
    file.write_bytes(b"six")
    assert state.digest(file) not in (first, second)


def test_a_file_that_stays_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trtconv.core import digests

    file, state, read = tmp_path / "file", State(tmp_path / "out/.trtconv/job"), []
    file.write_bytes(b"one")
    time.sleep(0.06)  # younger ones are in doubt
    monkeypatch.setattr(digests, "of_file", lambda path: read.append(path) or "digest")
    for _ in range(3):
        state.digest(file)
    assert read == [file]


def test_an_old_lock_is_written_anew_although_all_is_up_to_date(finished: Checkout) -> None:
    lock = finished.folder / "job.lock.yaml"
    good = lock.read_text()
    lock.write_text(good.replace("options: ", "options: 0"))
    assert finished.unlocked()
    finished.run()
    assert lock.read_text() == good


def test_what_a_function_imports_decides_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    written = {
        "mine.py": "import numpy\nfrom pack import part\nimport far\n",
        "pack/__init__.py": "",
        "pack/part.py": "from . import deep\nfrom .other import thing\n",
        "pack/deep.py": "",
        "pack/other.py": "import mine\n",
        "pack/alone.py": "",
        "elsewhere/far.py": "import json\n",
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = user_code.files(["mine:total"])
    assert {path.relative_to(tmp_path).as_posix() for path in found.values()} == set(written) - {"pack/alone.py"}
    assert set(found) == {f"code {name}" for name in ("mine", "pack", "pack.part", "pack.deep", "pack.other", "far")}
    assert user_code.files(["numpy:zeros", "not_there:f"]) == {}

"""Large files in the store: one with what the step made where that can be, and never in danger from it."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from trtconv.core import digests, files
from trtconv.core.events import ignore
from trtconv.pipeline import steps as step_table
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.run import Step, run
from trtconv.pipeline.steps import Node, Stage
from trtconv.pipeline.store import Store

HERE = "tests.pipeline.test_store"
LARGE = files.LARGE + 5


@dataclass(frozen=True)
class Grow:
    source: Path
    output: Path


@dataclass(frozen=True)
class Grown:
    output: Path
    sha256: str

    @property
    def digests(self) -> dict[Path, str]:
        return {self.output: self.sha256}


def grow(request: Grow, _emit: object) -> Grown:
    content = request.source.read_bytes() * LARGE
    with files.atomic_path(request.output) as file:
        file.write_bytes(content)
        os.utime(file, (1e9, 1e9))  # long before it takes its place, as after the fsync of a large file
    return Grown(request.output, hashlib.sha256(content).hexdigest())


@pytest.fixture
def grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Step]:
    """A step whose output is large, in an output folder of the name given."""
    monkeypatch.setenv("TRTCONV_CACHE", str(tmp_path / "store"))
    monkeypatch.setitem(step_table.STAGES, "grow", Stage(f"{HERE}:grow", f"{HERE}:Grown"))
    (tmp_path / "seed").write_bytes(b"s")

    def go(folder: str = "out") -> Step:
        layout = Layout(tmp_path / folder, "job")
        made, seed = layout.folder / "made", tmp_path / "seed"
        node = Node("grow", "grow", lambda _: Grow(seed, made), (made,), inputs={"seed": seed})
        (step,) = run([node], layout, ignore)
        assert made.read_bytes() == b"s" * LARGE
        return step

    return go


def kept(tmp_path: Path) -> Path:
    (entry,) = Store(tmp_path / "store").entries()
    return entry.folder / "0"


def test_a_large_output_is_not_copied(grown: Callable[[str], Step], tmp_path: Path) -> None:
    assert grown("out").status == "done"
    assert kept(tmp_path).samefile(tmp_path / "out/made")


def test_an_output_edited_in_its_place_is_no_hit_and_spoils_no_other(
    grown: Callable[[str], Step], tmp_path: Path
) -> None:
    grown("out")
    assert grown("other").status == "from cache"
    with (tmp_path / "out/made").open("r+b") as handle:
        handle.write(b"mine")
    assert (tmp_path / "other/made").read_bytes() == b"s" * LARGE
    assert grown("third").status == "done"  # the entry holds what somebody wrote: it is worth nothing
    assert grown("out").status == "from cache"  # changed by hand, and put right from the entry that third made
    assert grown("fourth").status == "from cache"


def test_what_is_taken_shares_nothing_with_the_store(grown: Callable[[str], Step], tmp_path: Path) -> None:
    grown("out")
    grown("other")
    with (tmp_path / "other/made").open("r+b") as handle:
        handle.write(b"mine")
    assert grown("third").status == "from cache"


def test_a_store_on_another_file_system_has_a_copy(
    grown: Callable[[str], Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    grown("out")
    assert not kept(tmp_path).samefile(tmp_path / "out/made")
    assert digests.of_file(kept(tmp_path)) == digests.of_file(tmp_path / "out/made")
    assert grown("other").status == "from cache"


def test_what_was_made_is_not_read_again(
    grown: Callable[[str], Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to put it into the store nor by a second run; a copy out of the store is read once."""
    read: list[Path] = []
    real = digests.of_file
    monkeypatch.setattr(digests, "of_file", lambda path: read.append(path) or real(path))
    grown("out")
    time.sleep(0.06)  # younger marks are in doubt
    assert grown("out").status == "up to date"
    assert tmp_path / "out/made" not in read
    grown("other")
    assert tmp_path / "other/made" not in read


def test_a_copy_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    for size in (0, 1, (1 << 20) + 1):
        content = os.urandom(size)
        (tmp_path / "a").write_bytes(content)
        assert digests.of_copy(tmp_path / "a", tmp_path / "b") == hashlib.sha256(content).hexdigest()
        assert (tmp_path / "b").read_bytes() == content

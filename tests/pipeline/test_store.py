"""Large files in the store: one with what the step made where that can be, and never in danger from it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from trtconv.core import child, digests, files
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


def beside(request: Grow, emit: object, _log: Path) -> child.Outcome:
    """The step in this process; it notes whether its source was hashed by then."""
    STARTED.append(len(HASHED))
    time.sleep(0.1)
    return child.Outcome(grow(request, emit), 0)


STARTED: list[int] = []
HASHED: list[Path] = []


@pytest.fixture
def early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Step]:
    """A step in this process with a large source, its suffix an option; hashing takes a while and is noted."""
    real = digests.of_file

    def slow(path: Path) -> str:
        time.sleep(0.05)
        HASHED.append(path)
        return real(path)

    STARTED.clear()
    HASHED.clear()
    monkeypatch.setattr(digests, "of_file", slow)
    monkeypatch.setenv("TRTCONV_CACHE", str(tmp_path / "store"))
    stage = Stage(f"{HERE}:grow", f"{HERE}:Grown", aside=f"{HERE}:beside")
    monkeypatch.setitem(step_table.STAGES, "grow", stage)
    (tmp_path / "seed").write_bytes(b"s")
    (tmp_path / "large").write_bytes(b"l" * LARGE)
    time.sleep(0.06)  # younger ones are in doubt

    def go(folder: str = "out", option: str = "") -> Step:
        layout = Layout(tmp_path / folder, "job")
        made, inputs = layout.folder / "made", {"seed": tmp_path / "seed", "large": tmp_path / "large"}
        request = Grow(tmp_path / "seed", made)
        node = Node("grow", "grow", lambda _: request, (made,), inputs=inputs, options={"option": option})
        (step,) = run([node], layout, ignore)
        return step

    return go


def test_a_step_starts_before_a_large_source_is_hashed(early: Callable[..., Step], tmp_path: Path) -> None:
    assert early().status == "done"
    assert STARTED == [0]
    assert set(HASHED) == {tmp_path / "seed", tmp_path / "large"}
    time.sleep(0.06)
    assert early().status == "up to date"
    assert len(STARTED) == 1


def test_it_waits_for_the_digest_where_the_store_may_have_it(early: Callable[..., Step], tmp_path: Path) -> None:
    early("out")
    assert early("other").status == "from cache"
    (tmp_path / "large").write_bytes(b"L" * LARGE)  # of the same size, and something else
    time.sleep(0.06)
    assert early("third").status == "done"
    assert [0, len(HASHED)] == STARTED
    assert early("fourth", "another").status == "done"
    assert STARTED[-1] < len(HASHED)
    assert early("fifth", "another").status == "from cache"


@pytest.mark.parametrize("when", ["before it is hashed", "afterwards"])
def test_a_source_that_changes_meanwhile_is_seen(
    when: str, early: Callable[..., Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = digests.of_file

    def changing(path: Path) -> str:
        found = real(path) if when == "afterwards" else ""
        if path.name == "large":
            path.write_bytes(b"x" * LARGE)
        return found or real(path)

    monkeypatch.setattr(digests, "of_file", changing)
    assert early().status == "done"
    monkeypatch.setattr(digests, "of_file", real)
    assert early().status == "done"  # nobody knows which content the first one read
    assert early().status == "up to date"


def test_what_a_build_notes_of_its_source_is_its_digest_although_it_started_early(tmp_path: Path) -> None:
    """Through the command: the engine's facts name the model's digest, as the cache's key does."""
    pytest.importorskip("tensorrt_rtx")
    model = tmp_path / "model.onnx"
    weights = np.random.default_rng(0).normal(size=(1500, 1500)).astype(np.float32)
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["batch", 1500]) for name in "xy"]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weights, "w")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), model)
    assert model.stat().st_size > files.LARGE
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    command = [sys.executable, "-m", "trtconv", "build", str(model), "-o"]
    env = {**os.environ, "TRTCONV_CACHE": str(tmp_path / "store")}
    for name in ("first", "second"):  # made, and taken from the store
        engine = tmp_path / f"{name}.engine"
        subprocess.run([*command, str(engine)], env=env, check=True, capture_output=True)
        facts = json.loads(engine.with_name(engine.name + ".json").read_text())
        assert facts["model"]["sha256"] == digest
        assert facts["provenance"]["digests"]["source"] == digest
        assert facts["engine"]["sha256"] == hashlib.sha256(engine.read_bytes()).hexdigest()

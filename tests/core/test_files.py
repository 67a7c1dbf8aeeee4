"""Files that appear whole or not at all; locks; digests; units; names."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trtconv.core import digests, files, names, units
from trtconv.core.errors import EnvironmentProblem


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result"
    target.write_text("old")

    def write() -> None:
        with files.atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_write_makes_folders_and_ordinary_permissions(tmp_path):
    target = tmp_path / "a" / "b.json"
    files.write_json(target, {"b": 1, "a": 2})
    assert target.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    reference = tmp_path / "plain"
    reference.write_text("")
    assert target.stat().st_mode == reference.stat().st_mode


def test_a_large_file_in_the_way_is_replaced_and_freed(tmp_path):
    target, before = tmp_path / "large.bin", set(threading.enumerate())
    for content in (b"1" * (9 << 20), b"2" * (9 << 20), b"3"):
        files.write_bytes(target, content)
        assert target.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["large.bin"]
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if os.path.lexists(path)]
    assert not [path for path in opened if path.is_relative_to(tmp_path)]


SWAP = """
import os, pathlib, signal, sys
from trtconv.core import files, unfinished
target, moment = pathlib.Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] == "without":
    files._exchange = lambda *_: False  # a file system that cannot
import ctypes, shutil
left = [moment]
def hook(event, _):
    if event.split(".")[0] in ("os", "open", "shutil", "ctypes"):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
with files.atomic_folder(target) as fresh:
    for name in ("a", "b"):
        (fresh / name).write_text("new")
    sys.addaudithook(hook)
"""


@pytest.mark.parametrize("exchange", ["with", "without"])
def test_a_folder_is_whole_whenever_its_writer_is_killed(tmp_path, exchange):
    """The old one or the new one at every call of the system; none for a moment only where two cannot change places."""
    found = set()
    for moment in range(1, 60):
        target = tmp_path / str(moment) / "x.parts"
        target.mkdir(parents=True)
        for name in ("a", "b"):
            (target / name).write_text("old")
        done = subprocess.run([sys.executable, "-c", SWAP, target, str(moment), exchange], check=False)
        found.add("".join(sorted(f"{p.name} {p.read_text()} " for p in target.iterdir())) if target.exists() else "")
        if done.returncode == 0:
            break
    assert done.returncode == 0, "it was always killed"
    assert moment > 8
    assert found == {"a old b old ", "a new b new ", *(() if exchange == "with" else ("",))}


def test_exclusive_waits_and_says_so(tmp_path):
    lock = tmp_path / "lock"
    code = f"""
import pathlib, time
from trtconv.core.files import exclusive
with exclusive(pathlib.Path({str(lock)!r}), lambda: None):
    print("held", flush=True)
    time.sleep(1)
"""
    waits = []
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with files.exclusive(lock, lambda: waits.append("waited")):
            assert other.wait(5) == 0 or other.poll() is not None
    assert waits == ["waited"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, number):
    def refuse(handle, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(EnvironmentProblem, match="lock cannot be locked: ") as told,
        files.exclusive(tmp_path / "lock", lambda: None),
    ):
        pass
    assert "has locks" in told.value.hint


def test_digest_of_a_folder_depends_on_names_and_contents(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    first = digests.of_path(tmp_path)
    assert digests.of_path(tmp_path / "a") == hashlib.sha256(b"1").hexdigest()
    (tmp_path / "a").rename(tmp_path / "b")
    assert digests.of_path(tmp_path) != first


@pytest.mark.parametrize(
    ("text", "count"), [("1GiB", 2**30), ("512 MiB", 2**29), ("1.5k", 1536), (7, 7), ("2GB", 2 * 10**9)]
)
def test_sizes(text, count):
    assert units.parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "1 parsec", "-1"])
def test_not_sizes(text):
    with pytest.raises(ValueError, match="expected a size"):
        units.parse_bytes(text)


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), (3, 3.0), ("2min", 120.0)])
def test_durations(text, seconds):
    assert units.parse_seconds(text) == pytest.approx(seconds)


def test_nearest_names_ignore_case():
    assert names.did_you_mean("FP61", ["fp16", "int8"]) == "did you mean 'fp16'?"
    assert names.did_you_mean("zzz", ["fp16"]) == ""


def test_a_choice_is_never_left_open():
    assert names.choice("fp61", ["fp16", "int8"]) == "did you mean 'fp16'?"
    assert names.choice("zz", ["fp16", "int8"]) == "choose one of fp16, int8"
    assert names.choice("zz", []) == "leave it out"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("configs/digits.yml", "configs/digits.yaml"),
        ("cofnigs/digits.yaml", "configs/digits.yaml"),
        ("./cofnigs/digist.yaml", "configs/digits.yaml"),
        ("configs/../configs/digist.yaml", "configs/../configs/digits.yaml"),
        ("cofnigs/nothing.like.it", "configs"),
        ("configs/digits.yaml/within", ""),
        ("elsewhere/digits.yaml", ""),
    ],
)
def test_a_path_that_is_meant_is_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, meant: str
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/digits.yaml").touch()
    said = f"did you mean {meant!r}?" if meant else ""
    assert names.path_meant(Path(wrong), tmp_path) == said
    monkeypatch.chdir(tmp_path)
    assert names.path_meant(Path(wrong)) == said
    assert names.path_meant(tmp_path / wrong) == (f"did you mean {str(tmp_path / meant)!r}?" if meant else "")

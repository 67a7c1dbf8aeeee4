"""Measurements of several processes on one machine: one after the other, with nothing that gets ready beside them."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from trtconv.core import quiet
from trtconv.core.events import Event, ignore


def waits(hold: threading.Event, kind: object, heard: list[Event]) -> threading.Thread:
    """A thread that enters ``kind`` and stays in it until ``hold`` is set."""

    def work() -> None:
        with kind(heard.append):  # type: ignore[operator]
            entered.set()
            hold.wait()

    entered = threading.Event()
    thread = threading.Thread(target=work, daemon=True)
    thread.entered = entered  # type: ignore[attr-defined]
    thread.start()
    return thread


def inside(thread: threading.Thread, seconds: float = 5.0) -> bool:
    found: bool = thread.entered.wait(seconds)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("first", [quiet.preparing, quiet.measuring])
def test_a_measurement_is_alone(first: object) -> None:
    leave, told = (threading.Event(), threading.Event()), [[], []]
    one = waits(leave[0], first, told[0])
    assert inside(one)
    other = waits(leave[1], quiet.measuring, told[1])
    assert not inside(other, 0.2)
    leave[0].set()
    assert inside(other)
    leave[1].set()
    assert told[0] == []
    assert [event.text for event in told[1]] == ["another trtconv measures on this machine; waiting for it"]


def test_many_get_ready_together() -> None:
    leave = threading.Event()
    threads = [waits(leave, quiet.preparing, []) for _ in range(3)]
    assert all(inside(thread) for thread in threads)
    leave.set()


def test_other_gpus_are_another_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert inside(waits(leave, quiet.measuring, []))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,2")
    assert inside(waits(leave, quiet.measuring, []))
    leave.set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_nowhere_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    with quiet.measuring(ignore):
        pass


def test_a_file_where_the_folder_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "caches").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    with quiet.measuring(ignore):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("fcntl.flock", no_locks)
    with quiet.measuring(ignore):
        pass


def no_locks(handle: object, kind: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

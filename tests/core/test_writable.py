"""Where files cannot go, and what the system refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trtconv.core import child, files, writable
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import ignore
from trtconv.core.files import write_text

HERE = "tests.core.test_writable"


def fill(path, emit):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def forget(path, emit):
    raise FileNotFoundError(errno.ENOENT, "not there", path)


def test_a_full_disk_is_an_error_of_this_machine_also_from_a_child(tmp_path):
    with pytest.raises(EnvironmentProblem, match="No space left on device") as caught:
        child.call(f"{HERE}:fill", "/data/model.onnx", ignore, tmp_path / "log")
    assert caught.value.message.startswith("/data/model.onnx: ")
    assert "make room" in caught.value.hint


def test_a_full_disk_names_the_file_that_was_written(tmp_path):
    with pytest.raises(OSError, match="No space") as caught, files.atomic_path(tmp_path / "big.onnx"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write(2) tells it
    assert writable.problem(caught.value).message == f"{tmp_path / 'big.onnx'}: No space left on device"


def test_what_may_be_a_mistake_of_trtconv_stays_a_crash(tmp_path):
    with pytest.raises(child.ChildCrash, match="FileNotFoundError"):
        child.call(f"{HERE}:forget", "/data/model.onnx", ignore, tmp_path / "log")


def test_a_path_below_a_file_is_a_mistake_of_the_user(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=f"{tmp_path}/file"), writable.told():
        write_text(tmp_path / "file" / "below", "text")


def test_folders_devices_and_pipes_are_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "out").symlink_to("/proc/self/fd/1")
    for name, said in (("", "is a folder"), ("pipe", "not an ordinary file"), ("out", "not an ordinary file")):
        with pytest.raises(UsageError, match=said):
            write_text(tmp_path / name, "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pipe"]
    assert (tmp_path / "out").is_symlink()


def test_a_link_is_replaced_and_not_what_it_points_to(tmp_path):
    (tmp_path / "kept").write_text("old")
    (tmp_path / "link").symlink_to("kept")
    write_text(tmp_path / "link", "new")
    assert [(tmp_path / name).read_text() for name in ("kept", "link")] == ["old", "new"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(EnvironmentProblem, match=f"{tmp_path}: nothing may be written"):
        writable.require_folder(tmp_path / "new" / "folders", writable=True)
    writable.require_folder(tmp_path / "new" / "folders", writable=False)


@pytest.mark.parametrize("place", ["/proc/x.onnx", "/sys/kernel/x.onnx", "/proc/1/fd/x.onnx"])
def test_a_file_system_that_takes_no_files_is_named(place):
    with pytest.raises(EnvironmentProblem, match="nothing may be written there"):
        write_text(Path(place), "text")


def test_a_file_system_that_says_it_has_no_room_may_take_files_all_the_same(tmp_path, monkeypatch):
    told = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*told[:2], 0, *told[3:])))
    write_text(tmp_path / "file", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

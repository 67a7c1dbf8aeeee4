"""A stage's process: its result, its errors, its death, its noise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import hear_interrupts
from trtconv.core import child, own_heap
from trtconv.core.errors import ConversionError, TrtconvError
from trtconv.core.events import Progress, Running

HERE = "tests.core.test_child"


def double(value, emit):
    emit(Progress("doubling", 1, 2))
    print("noise on standard output")
    return value * 2


def refuse(value, emit):
    raise ConversionError(f"cannot convert {value}", hint="try another")


def fail(value, emit):
    return value / 0


def die(signum, emit):
    print("last words", flush=True)
    os.kill(os.getpid(), signum)


def allocate(count, emit):
    return len(bytearray(count))


def where(used, emit):
    """The address of a new object, after the process took and gave back as much memory."""
    import ctypes

    pieces = [ctypes.create_string_buffer(size) for size in range(2000, 2000 + used)]
    del pieces[::2]
    return own_heap.call(lambda: ctypes.addressof(ctypes.create_string_buffer(1000)), lambda: None, 1)


class Late:
    """A result whose way back is where Ctrl-C comes."""

    def __reduce__(self):
        signal.raise_signal(signal.SIGINT)
        return str, ("kept",)


def late(_, emit):
    return Late()


def sleep(path, emit):
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def test_result_events_and_log(tmp_path):
    events = []
    outcome = child.call(f"{HERE}:double", 21, events.append, tmp_path / "log")
    assert outcome.value == 42
    assert events == [Progress("doubling", 1, 2)]
    assert (tmp_path / "log").read_text() == "noise on standard output\n"


def test_errors_keep_their_class_and_hint(tmp_path):
    with pytest.raises(ConversionError, match="cannot convert 7") as caught:
        child.call(f"{HERE}:refuse", 7, lambda _: None, tmp_path / "log")
    assert caught.value.hint == "try another"
    assert caught.value.exit_code == 3


def test_unexpected_exceptions_are_internal_errors_with_a_traceback(tmp_path):
    with pytest.raises(TrtconvError, match="ZeroDivisionError") as caught:
        child.call(f"{HERE}:fail", 7, lambda _: None, tmp_path / "log")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(("signum", "word"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "memory")])
def test_death_becomes_an_error_with_the_end_of_the_log(tmp_path, signum, word):
    with pytest.raises(child.ChildCrash, match=word) as caught:
        child.call(f"{HERE}:die", int(signum), lambda _: None, tmp_path / "log")
    assert "last words" in str(caught.value)
    assert str(tmp_path / "log") in caught.value.hint


def test_peak_memory_is_the_childs_own(tmp_path):
    fat = bytearray(300 << 20)
    small = child.call(f"{HERE}:double", 1, lambda _: None, tmp_path / "log").peak_memory
    large = child.call(f"{HERE}:allocate", 200 << 20, lambda _: None, tmp_path / "log").peak_memory
    assert len(fat) > small
    assert large - small > 150 << 20


def test_addresses_repeat_when_asked_for(tmp_path):
    found = {
        child.call(f"{HERE}:where", n, print, tmp_path / "log", {"X": "x" * n}, same_addresses=True).value
        for n in (1, 500, 2000)
    }
    assert len(found) == 1
    found = {child.call(f"{HERE}:where", 1, print, tmp_path / "log").value for _ in range(3)}
    assert len(found) > 1


def test_interrupt_stops_the_child(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "from trtconv.core import child; from pathlib import Path;"
        f"child.call('{HERE}:sleep', {str(pid_file)!r}, print, Path({str(tmp_path / 'log')!r}))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
    )
    while not pid_file.exists() or not pid_file.read_text():
        assert parent.poll() is None, parent.stderr.read()
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    _, stderr = parent.communicate(timeout=20)
    assert "Interrupted: interrupted during sleep" in stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_an_interrupt_on_the_way_back_does_not_lose_the_result(tmp_path):
    assert child.call(f"{HERE}:late", None, lambda _: None, tmp_path / "log").value == "kept"


def test_a_killed_parent_takes_its_child_along(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "from trtconv.core import child; from pathlib import Path;"
        f"child.call('{HERE}:sleep', {str(pid_file)!r}, print, Path({str(tmp_path / 'log')!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        while not pid_file.exists() or not pid_file.read_text():
            time.sleep(0.05)
        parent.kill()
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def crash_while_running(request, emit):
    emit(Running("the model on random inputs", request))
    if request > 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(30)


def crash_after_running(request, emit):
    emit(Running("the model on random inputs", request))
    emit(Running(""))
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_model_that_ends_the_process_is_told_apart_from_other_crashes(tmp_path):
    with pytest.raises(child.RunDied) as caught:
        child.call(f"{HERE}:crash_while_running", 60, lambda _: None, tmp_path / "log")
    assert (caught.value.what, "SIGSEGV" in caught.value.why) == ("the model on random inputs", True)
    with pytest.raises(child.ChildCrash) as caught:
        child.call(f"{HERE}:crash_after_running", 60, lambda _: None, tmp_path / "log")
    assert not isinstance(caught.value, child.RunDied)


def test_a_model_that_does_not_end_is_ended(tmp_path):
    started = time.monotonic()
    with pytest.raises(child.RunDied) as caught:
        child.call(f"{HERE}:crash_while_running", 0.5, lambda _: None, tmp_path / "log")
    assert time.monotonic() - started < 20
    assert "takes longer than" in caught.value.why

"""Functions of a small module in another interpreter: results, errors, deaths, and what is seen from there."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from tests.conftest import hear_interrupts
from trtconv.core import child, guest, interpreter
from trtconv.core.errors import ConversionError, EnvironmentProblem, MissingPackage
from trtconv.core.events import Message, Progress
from trtconv.core.interpreter import Guest, Needs

SMALL = "tests.core.small_module"
NEEDS = Needs("JSON", {"json": "json"}, extra="tf")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """The program of a virtual environment without any package."""
    folder = tmp_path_factory.mktemp("environments") / "bare env"
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture
def opened(other, tmp_path):
    def call(function, emit=lambda _: None, **request):
        with Guest(interpreter.find(other, NEEDS), SMALL, NEEDS, emit, tmp_path / "log") as there:
            return there.call(function, request)

    return call


def test_result_events_and_log(opened, other, tmp_path):
    told = []
    found = opened("double", told.append, number=21)
    assert found["doubled"] == 42
    assert Path(found["python"]).parent == other.parent
    assert told == [Message("begun", "warning"), Progress("doubling", 1, 2, "numbers")]
    assert (tmp_path / "log").read_text() == "noise on standard output\n"


def test_the_process_stays_from_call_to_call(other):
    with Guest(interpreter.find(other, NEEDS), SMALL, NEEDS, print) as there:
        assert there.folder.is_dir()
        there.call("hold", {"number": 1})
        with pytest.raises(ConversionError):
            there.call("refuse", {"number": 2})
        assert there.call("hold", {"number": 3}) == [1, 3]
    assert not there.folder.exists()


def test_errors_keep_their_class_and_hint(opened):
    with pytest.raises(ConversionError, match="cannot convert 7") as caught:
        opened("refuse", number=7)
    assert caught.value.hint == "try another"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("function", "word"), [("fail", "ZeroDivisionError"), ("leave", "SystemExit: leaving")])
def test_unexpected_exceptions_are_internal_errors_with_a_traceback_and_the_log(opened, tmp_path, function, word):
    with pytest.raises(child.ChildCrash, match=word) as caught:
        opened(function, number=7)
    assert caught.value.exit_code == 1
    assert caught.value.hint == f"full log: {tmp_path / 'log'}"


@pytest.mark.parametrize(("signum", "word"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "memory")])
def test_death_becomes_an_error_with_the_end_of_the_log(opened, signum, word):
    with pytest.raises(child.ChildCrash, match=word) as caught:
        opened("die", number=int(signum))
    assert "last words" in str(caught.value)


def test_a_missing_package_is_named_with_the_line_that_installs_it(other):
    needs = Needs("Nothing", {"no_such_package": "no-such-package==1.*"}, extra="tf")
    with pytest.raises(EnvironmentProblem, match="has no no_such_package") as caught:
        interpreter.find(other, needs)
    assert caught.value.hint == f"'{other}' -m pip install 'no-such-package==1.*'"
    with pytest.raises(MissingPackage, match="no_such_package") as caught:
        interpreter.find(None, needs)
    assert "[tf]" in caught.value.hint


def test_a_package_that_turns_out_to_be_missing_is_the_same_error(other):
    needs = Needs("Nothing", {"no_such_package": "no-such-package==1.*"})
    bare = interpreter.find(other, NEEDS)
    with Guest(bare, SMALL, needs, print) as there, pytest.raises(EnvironmentProblem, match="no_such_package"):
        there.call("need", {"package": "no_such_package"})


def test_a_package_that_does_not_load_is_a_problem_of_the_environment(other, tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("raise OSError('libcudnn.so.9: cannot open shared object file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    needs = Needs("Broken", {"broken_package": "broken"})
    broken = pytest.raises(EnvironmentProblem, match=r"does not load: libcudnn.so.9")
    with Guest(interpreter.find(other, needs), SMALL, needs, print) as there, broken as caught:
        there.call("need", {"package": "broken_package"})
    assert "--force-reinstall" in caught.value.hint


def garbage(folder: Path) -> Path:
    file = folder / "bin" / "python"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\necho hello\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (lambda folder: folder / "no where" / "bin" / "python", "no such file"),
        (lambda folder: folder, "no such file"),  # a folder that is no environment
        (garbage, "not a Python interpreter"),
        (lambda _: Path("/bin/false"), "not a Python interpreter"),
        (lambda _: Path("/bin/true"), "not a Python interpreter"),
        (lambda _: Path(__file__), "cannot be started"),
    ],
)
def test_what_is_no_interpreter_is_told_with_the_lines_that_make_one(tmp_path, program, why):
    needs = Needs("TensorFlow", {"tensorflow": "tensorflow-cpu>=2.21,<2.22", "tf2onnx": "tf2onnx==1.17.*"})
    with pytest.raises(EnvironmentProblem, match=why) as caught:
        interpreter.find(program(tmp_path), needs)
    assert caught.value.exit_code == 5
    assert caught.value.hint.startswith("python3 -m venv ")
    assert caught.value.hint.endswith("/bin/pip install 'tensorflow-cpu>=2.21,<2.22' 'tf2onnx==1.17.*'")


def test_the_lines_make_the_environment_that_was_named(tmp_path):
    with pytest.raises(EnvironmentProblem) as caught:
        interpreter.find(tmp_path / "mine" / "bin" / "python", NEEDS)
    assert caught.value.hint == f"python3 -m venv {tmp_path}/mine && {tmp_path}/mine/bin/pip install json"


def test_an_interpreter_that_is_too_old_is_refused(other):
    with pytest.raises(EnvironmentProblem, match=r"needs 4\.0 or later") as caught:
        interpreter.find(other, Needs("Tomorrow", {}, python=(4, 0)))
    assert "source.python" in caught.value.hint


def test_an_environment_is_named_by_its_folder_too(other):
    assert interpreter.find(other.parent.parent, NEEDS).path == other


def test_versions_are_the_interpreters_own_and_hold_no_path(other, tmp_path):
    (tmp_path / "Some_Thing-1.2.dist-info").mkdir()
    found = interpreter.find(other, NEEDS)
    assert found.versions(["numpy"]) == {"python": ".".join(map(str, sys.version_info[:3]))}
    seen = interpreter.Interpreter(other, "3.9.1", (str(tmp_path), *found.folders))
    assert seen.versions(["some-thing", "numpy"]) == {"python": "3.9.1", "some-thing": "1.2"}
    assert "numpy" in interpreter.find(None, NEEDS).versions(["numpy"])


def test_nothing_beside_trtconv_is_seen_there(opened, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    found = opened("seen", names=["numpy", "onnx", "click", "events", "errors", "trtconv", "tests"])
    assert [name for name, there in found.items() if there] == ["trtconv"]
    assert opened("ours") == 1024


def test_peak_memory_is_the_guests_own_and_counts_in_its_stage(other, tmp_path):
    fat = bytearray(300 << 20)
    with Guest(interpreter.find(other, NEEDS), SMALL, NEEDS, print, tmp_path / "log") as there:
        there.call("hold", {"number": 1})
        small = there.peak_memory
        there.call("allocate", {"number": 200 << 20})
        assert len(fat) > small
        assert there.peak_memory - small > 150 << 20
    staged = child.call("tests.core.test_interpreter:stage", str(other), print, tmp_path / "log")
    assert staged.peak_memory > 200 << 20


def stage(python, emit):
    """A stage that has a guest: what that prints is in the stage's log."""
    with Guest(interpreter.find(Path(python), NEEDS), SMALL, NEEDS, emit) as there:
        there.call("allocate", {"number": 200 << 20})
        return there.call("double", {"number": 4})["doubled"]


def crashing(python, emit):
    with Guest(interpreter.find(Path(python), NEEDS), SMALL, NEEDS, emit) as there:
        there.call("fail", {"number": 4})


def sleeping(request, emit):
    with Guest(interpreter.find(Path(request[0]), NEEDS), SMALL, NEEDS, emit) as there:
        there.call("ignore_sigterm", {})
        there.call("sleep", {"file": request[1]})


def test_a_stage_has_its_guests_noise_and_crash_in_its_own_log(other, tmp_path):
    told, log = [], tmp_path / "log"
    assert child.call("tests.core.test_interpreter:stage", str(other), told.append, log).value == 8
    assert "noise on standard output" in log.read_text()
    assert Message("begun", "warning") in told
    with pytest.raises(child.ChildCrash, match=r"ZeroDivisionError(.|\n)*last words") as caught:
        child.call("tests.core.test_interpreter:crashing", str(other), print, log)
    assert caught.value.hint == f"full log: {log}"
    assert "last words" in log.read_text()


def started(code: str, pid_file: Path, **settings: object) -> subprocess.Popen[str]:
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, **settings)
    while not pid_file.exists() or not pid_file.read_text():
        assert parent.poll() is None, parent.stderr.read()
        time.sleep(0.05)
    return parent


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_ends_the_stage_and_its_guest_and_leaves_no_folder(other, tmp_path):
    pid_file, scratch = tmp_path / "pid", tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "from trtconv.core import child; from pathlib import Path;"
        f"child.call('tests.core.test_interpreter:sleeping', {(str(other), str(pid_file))!r}, print, "
        f"Path({str(tmp_path / 'log')!r}))"
    )
    parent = started(code, pid_file, env={**os.environ, "TMPDIR": str(scratch)}, preexec_fn=hear_interrupts)
    parent.send_signal(signal.SIGINT)
    _, stderr = parent.communicate(timeout=20)
    assert "Interrupted" in stderr
    assert gone(int(pid_file.read_text()))
    assert list(scratch.iterdir()) == []


def test_a_killed_parent_takes_the_guest_along(other, tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "from pathlib import Path; from tests.core.test_interpreter import sleeping;"
        f"sleeping({(str(other), str(pid_file))!r}, print)"
    )
    parent = started(code, pid_file)
    parent.kill()
    parent.communicate(timeout=20)
    assert gone(int(pid_file.read_text()))


@pytest.fixture
def heard():
    """Ctrl-C reaches this process, whatever started the tests: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_the_process_that_asked_stays_one(other, tmp_path, heard):
    with Guest(interpreter.find(other, NEEDS), SMALL, NEEDS, lambda _: signal.raise_signal(signal.SIGINT)) as there:
        with pytest.raises(KeyboardInterrupt):
            there.call("double", {"number": 2})
        assert gone(there._process.pid)


def test_the_other_side_is_written_for_older_pythons():
    ast.parse(Path(guest.__file__).read_text(), feature_version=(3, 8))
    found = {
        node.module or ""
        for node in ast.walk(ast.parse(Path(guest.__file__).read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert not [name for name in found if name.startswith("trtconv")]

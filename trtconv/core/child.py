"""Run one function in a process of its own: its memory goes with it, its noise is kept in a log, a crash is an error.

The child is ``python -m trtconv.core.child FD``: it reads one pickled call from standard input, sends messages (length
in eight bytes, then a pickle) through file descriptor FD, and has its standard output and error in the log file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from trtconv.core import endings, guest, guests, own_heap, unfinished, writable
from trtconv.core.errors import Interrupted, TrtconvError
from trtconv.core.events import Emit, Event, Running
from trtconv.core.lazy import resolve

LOG_TAIL_LINES = 15
KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_", "LD_LIBRARY_PATH", "PYTHON", "VIRTUAL_ENV", "CUDA", "NVIDIA")
"""Beginnings of the names of variables that reach a process with the same addresses every time."""

_PACKAGES = str(Path(__file__).resolve().parents[2]) + os.pathsep
_PR_SET_PDEATHSIG = 1
_STARTER = str(Path(__file__).with_name("same_addresses.py"))
LIVE: dict[subprocess.Popen[bytes], float] = {}
"""Processes under way, those of other interpreters too, and their patience."""

NOISE = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_MODULE_LOADING": "LAZY"}


class ChildCrash(TrtconvError):
    """The child ended without a result: killed, out of memory, or a bug."""


class RunDied(ChildCrash):
    """The child ended while a model ran in it on inputs that nobody chose (see ``events.Running``).

    Attributes:
        what: ran.
        why: it ended, such as ``crashed with SIGSEGV``.
    """

    def __init__(self, what: str, why: str, crash: ChildCrash) -> None:
        super().__init__(f"{what}: {why}; {crash.message}", hint=crash.hint)
        self.what, self.why = what, why


@dataclass(frozen=True)
class Outcome:
    """What came back.

    Attributes:
        value: the function's result.
        peak_memory: the child's peak resident memory in bytes (VmHWM).
    """

    value: Any
    peak_memory: int


def call(
    target: str,
    request: Any,
    emit: Emit,
    log: Path,
    env: Mapping[str, str] | None = None,
    same_addresses: bool = False,
    patience: float = 0.0,
    talks: list[Talk] | None = None,
) -> Outcome:
    """Call ``target(request, emit)`` in a new process.

    Args:
        target: ``module:function``.
        request: a picklable value.
        emit: gets the events that the function emits.
        log: file for the child's standard output and error (replaced).
        env: variables to add to the environment.
        same_addresses: give the function the same memory addresses every time, as far as the system allows, in what it
            does through ``own_heap``: TensorRT orders some of its work by address, and would make other bytes from the
            same model. The environment is cut down to KEPT, and it runs in the folder of the log.
        patience: seconds that the function gets after Ctrl-C, which it hears as KeyboardInterrupt, to return what it
            has by then; a second Ctrl-C ends it at once.
        talks: gets the talk with the process, through which another thread can end it.

    Raises:
        TrtconvError: what the function raised.
        ChildCrash: the process died or raised something unexpected; the message holds the end of the log.
        Interrupted: Ctrl-C; the child has been stopped.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    read_fd, write_fd = os.pipe()  # its number is told in as many digits always: more of them would move addresses
    with (
        unfinished.folder(Path(tempfile.gettempdir()), "trtconv-") as scratch,
        log.open("wb") as log_handle,
        os.fdopen(read_fd, "rb") as messages,
    ):
        process = subprocess.Popen(
            [
                sys.executable,
                *(["-I", "-S", _STARTER] if same_addresses else ["-m", "trtconv.core.child"]),
                f"{write_fd:06}",
            ],
            stdin=subprocess.PIPE,
            stdout=log_handle,
            stderr=subprocess.STDOUT,
            pass_fds=[write_fd],
            start_new_session=True,
            cwd=log.parent if same_addresses else None,  # its length moves addresses too
            env={**_environment(same_addresses), **NOISE, "TMPDIR": str(scratch), **(env or {})},
        )
        os.close(write_fd)
        LIVE[process] = patience
        talk = Talk(process, messages, emit, log)
        if talks is not None:
            talks.append(talk)
        try:
            talk.ask((target, request))
            try:
                return talk.answer()
            except KeyboardInterrupt:
                return talk.last_words(patience)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted during {target.rpartition(':')[2]}") from None
        finally:
            with endings.held():
                LIVE.pop(process)
                _stop(process)
                talk.close()


def _environment(kept_only: bool) -> dict[str, str]:
    if not kept_only:
        return dict(os.environ)
    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    packages = _PACKAGES + kept.get("PYTHONPATH", "")  # this trtconv, also beside the folder
    return {**kept, **own_heap.ENVIRONMENT, "PYTHONPATH": packages}


def stop_all() -> None:
    """End every child: calls in other threads then fail as interrupted, or return what there is where they may."""
    for process, patience in list(LIVE.items()):
        if patience:
            _hurry(process, patience)
        else:
            process.terminate()


def _hurry(process: subprocess.Popen[bytes], patience: float) -> threading.Timer:
    """Have a child come to its end in so many seconds."""
    process.send_signal(signal.SIGINT)
    timer = threading.Timer(patience, process.terminate)
    timer.daemon = True
    timer.start()
    return timer


class Talk:
    """What a process says, read by a thread: Ctrl-C in the middle of a message would lose the rest.

    Args:
        process: says it.
        messages: where it arrives.
        emit: gets the events.
        log: of the process.
        hear: the next message, as a kind and what it holds; None at the end.
        hint: where to look when it crashes; default: its log.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        messages: IO[bytes],
        emit: Emit,
        log: Path,
        hear: Callable[[IO[bytes]], tuple[str, Any] | None] | None = None,
        hint: str | None = None,
    ) -> None:
        self.process, self.emit, self.log, self.hear = process, emit, log, hear or receive
        self.hint = f"full log: {log}" if hint is None else hint
        self.running, self.timer, self.late = "", threading.Timer(0, process.kill), False
        self.heard: queue.SimpleQueue[tuple[str, Any] | BaseException | None] = queue.SimpleQueue()
        self.unfinished: dict[Path, None] = {}
        self.listener = threading.Thread(target=self.listen, args=(messages,), daemon=True)
        self.listener.start()

    def ask(self, request: Any) -> None:
        """Send the one request of a child, and no more."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a child that died at once: told below
            self.process.stdin.write(pickle.dumps(request))
            self.process.stdin.close()

    def listen(self, messages: IO[bytes]) -> None:
        """The thread: keep all messages."""
        try:
            while (message := self.hear(messages)) is not None:
                if message[0] in ("begun", "ended"):
                    self.note(*message)
                else:
                    self.heard.put(message)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the answer
            self.heard.put(error)
        self.heard.put(None)

    def note(self, what: str, path: Path) -> None:
        """What the process begins must not stay if it dies; nor if this process does, so its parent hears of it too."""
        if what == "begun":
            self.unfinished[path] = None
            unfinished.begin(path)
        else:
            self.unfinished.pop(path, None)
            unfinished.end(path)

    def give_up(self, error: BaseException) -> None:
        """From another thread: whoever waits for the answer gets this error, and the process ends."""
        self.heard.put(error)

    def answer(self) -> Outcome:
        """Wait for the result of a call, and hand on events until then; raises what ``call`` does."""
        while (message := self.heard.get()) is not None:
            if isinstance(message, BaseException):
                raise message
            kind, payload = message
            if kind == "event" and isinstance(payload, Running):
                self.watch(payload)
            elif kind == "event":
                self.emit(payload)
            elif kind == "result":
                return Outcome(*payload)
            elif kind == "error":
                if isinstance(payload, ChildCrash) and not payload.hint:  # of a process that the child had
                    payload.hint = self.hint
                raise payload
            else:
                raise ChildCrash(f"unexpected failure in a child process:\n{payload}", hint=self.hint)
        code = self.process.wait()
        if code in (-signal.SIGTERM, Interrupted.exit_code):
            raise Interrupted("interrupted")
        crash = _death(code, self.log, self.hint)
        if self.running:
            limit = f"takes longer than {self.timer.interval:.0f} s"
            raise RunDied(self.running, limit if self.late else crash.message.partition("\n")[0], crash)
        raise crash

    def watch(self, run: Running) -> None:
        """End the process when a run takes too long."""
        self.timer.cancel()
        self.running = run.what
        if run.what:
            self.timer = threading.Timer(run.seconds, self.end)
            self.timer.daemon = True
            self.timer.start()

    def end(self) -> None:
        """Time is up."""
        self.late = True
        self.process.kill()

    def last_words(self, patience: float) -> Outcome:
        """The answer of a child that is told to come to an end."""
        if not patience:
            raise KeyboardInterrupt
        timer = _hurry(self.process, patience)
        try:
            return self.answer()
        finally:
            timer.cancel()

    def close(self) -> None:
        """Wait for the thread, and remove what the process left unfinished; it has ended."""
        self.timer.cancel()
        self.listener.join()
        for path in self.unfinished:
            unfinished.remove(path)


def _death(code: int, log: Path, hint: str) -> ChildCrash:
    if code == -signal.SIGKILL:
        what = "was killed by the system, most likely because memory ran out"
    elif code < 0:
        what = f"crashed with {signal.Signals(-code).name}"
    else:
        what = f"ended early with status {code}"
    return ChildCrash(f"a child process {what}\n{log_tail(log)}".rstrip(), hint=hint)


def log_tail(log: Path) -> str:
    """The last lines of a log, indented; empty when there is none."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:] if log.exists() else []
    return "\n".join(f"  | {line}" for line in lines)


def send(stream: IO[bytes], message: Any) -> None:
    """Write a picklable value, for ``receive`` at the other end."""
    body = pickle.dumps(message)
    stream.write(struct.pack("<Q", len(body)) + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next value; None when the other end has closed."""
    header = stream.read(8)
    if len(header) < 8:
        return None
    return pickle.loads(stream.read(struct.unpack("<Q", header)[0]))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def peak_memory() -> int:
    """Peak resident memory of this process and of the largest that it had in another interpreter, in bytes."""
    return guest.peak_memory() + guests.peak_memory()


def main() -> None:
    """The child's side."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # never outlive the parent, whatever kills it
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    with os.fdopen(int(sys.argv[1]), "wb") as out:
        target, request = pickle.load(sys.stdin.buffer)
        answer = _Answer(out)
        unfinished.watched_by(answer.send)
        answer.to(target, request)


@dataclass(frozen=True)
class _Answer:
    """The way back to the parent."""

    out: IO[bytes]
    turn: threading.Lock = field(default_factory=threading.Lock)

    def send(self, kind: str, payload: Any) -> None:
        """From any thread."""
        with self.turn:
            send(self.out, (kind, payload))

    def emit(self, event: Event) -> None:
        self.send("event", event)

    def to(self, target: str, request: Any) -> None:
        """Make the call and send what came of it."""
        try:
            with guests.closed(), writable.told():
                value = resolve(target)(request, self.emit)
        except TrtconvError as error:
            self.send("error", error)
        except KeyboardInterrupt:  # it has nothing to return
            sys.exit(Interrupted.exit_code)
        except Exception:  # noqa: BLE001 - everything unexpected becomes the parent's ChildCrash
            self.send("crash", traceback.format_exc())
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # too late now; it would keep the result from the parent
            self.send("result", (value, peak_memory()))


if __name__ == "__main__":
    main()

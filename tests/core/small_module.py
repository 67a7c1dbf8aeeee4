"""What tests/core/test_interpreter.py runs in another interpreter: the standard library only."""

import os
import signal
import sys
import time
from pathlib import Path

HELD = []


def double(request, host):
    host.message("begun", "warning")
    host.progress("doubling", 1, 2, "numbers")
    print("noise on standard output")
    return {"doubled": request["number"] * 2, "python": sys.executable, "argv": sys.argv}


def hold(request, host):
    HELD.append(request["number"])
    return HELD


def refuse(request, host):
    raise host.refusal("ConversionError", f"cannot convert {request['number']}", hint="try another")


def fail(request, host):
    print("last words")
    return request["number"] / 0


def leave(request, host):
    sys.exit("leaving")


def die(request, host):
    print("last words", flush=True)
    os.kill(os.getpid(), request["number"])


def need(request, host):
    return str(host.load(request["package"]))


def sleep(request, host):
    Path(request["file"]).write_text(str(os.getpid()))
    time.sleep(60)


def allocate(request, host):
    return len(bytearray(request["number"]))


def seen(request, host):
    """Which modules can be found here."""
    from importlib.util import find_spec

    return {name: find_spec(name) is not None for name in request["names"]}


def ours(request, host):
    """Code of trtconv that needs the standard library only."""
    from trtconv.core import units

    return units.parse_bytes("1KiB")


def ignore_sigterm(request, host):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

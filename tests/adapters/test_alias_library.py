"""A library without code that makes another known by a second name."""

from __future__ import annotations

import subprocess
import sys


def test_a_loaded_library_answers_to_another_name() -> None:
    """In a process of its own: what is loaded stays."""
    code = """
import ctypes
from trtconv.adapters import alias_library
try:
    ctypes.CDLL("libtrtconv_other_name.so")
    raise SystemExit("it is there already")
except OSError:
    pass
alias_library.load("libtrtconv_other_name.so", "libc.so.6")
assert ctypes.CDLL("libtrtconv_other_name.so").abs(-3) == 3
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

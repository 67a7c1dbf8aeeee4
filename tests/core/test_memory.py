"""What is asked of the C library."""

import subprocess
import sys

import pytest

from trtconv.core import memory

FAULTS = """
import resource, sys
from trtconv.core import memory
if sys.argv[1] == "keep":
    memory.keep()
before = 0
for turn in range(40):
    bytes(bytearray(4 << 20))
    if turn == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
def test_kept_memory_is_not_faulted_in_again() -> None:
    assert faults("keep") < faults("as it is") / 4


def test_other_c_libraries_have_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.keep()
    memory.give_back()

"""Start ``trtconv.core.child`` without address space randomization: a program of its own, which loads nothing else.

    python -I -S same_addresses.py ARGUMENTS

Where the system does not allow it, the child starts with randomization.
"""

from __future__ import annotations

import ctypes
import os
import sys

_ASK = 0xFFFFFFFF
_ADDR_NO_RANDOMIZE = 0x0040000  # personality(2)

if __name__ == "__main__":
    libc = ctypes.CDLL(None)
    now = libc.personality(_ASK)
    if now != -1:
        libc.personality(now | _ADDR_NO_RANDOMIZE)
    os.execv(sys.executable, [sys.executable, "-m", "trtconv.core.child", *sys.argv[1:]])

"""A shared library without code that makes another one known by a second name.

TensorRT-RTX 1.7 loads ``libtensorrt_rtx.so`` by name once its parser has made a plugin, its wheel has only
``libtensorrt_rtx.so.1``, and the process ends where that fails. The dynamic linker takes a library that is loaded
already by its SONAME; so a library of that SONAME, which needs the real one, answers the call.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import tempfile
from pathlib import Path

_MACHINES = {"x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183}
_PAGE = 0x10000
_HEADER, _SEGMENT, _ENTRY = 64, 56, 16
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _HASH, _SONAME = 1, 5, 6, 10, 11, 4, 14
_SYMBOL = 24

_held: list[ctypes.CDLL] = []


def load(alias: str, needed: str) -> None:
    """Have a library that is loaded answer to another name too, for the rest of the process.

    Args:
        alias: the name to add.
        needed: SONAME of a library that the process has loaded.

    Raises:
        OSError: the dynamic linker refuses it.
    """
    with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
        path = Path(folder) / alias
        path.write_bytes(content(alias, needed))
        _held.append(ctypes.CDLL(str(path)))


def content(alias: str, needed: str) -> bytes:
    """The bytes of such a library: ELF 64, one writable segment with the dynamic section, no symbols.

    The format is that of the System V ABI, "Object Files" and "Dynamic Linking".
    """
    strings = b"\0" + alias.encode() + b"\0" + needed.encode() + b"\0"
    dynamic = _HEADER + 2 * _SEGMENT
    symbols = dynamic + 8 * _ENTRY
    table = symbols + _SYMBOL  # of hashes: no bucket but one, no symbol but the null one
    texts = table + 16
    entries = [
        (_SONAME, 1),
        (_NEEDED, 2 + len(alias)),
        (_HASH, table),
        (_STRTAB, texts),
        (_SYMTAB, symbols),
        (_STRSZ, len(strings)),
        (_SYMENT, _SYMBOL),
        (0, 0),
    ]
    size = texts + len(strings)
    machine = _MACHINES.get(platform.machine(), _MACHINES["x86_64"])
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, _HEADER, 0, 0, _HEADER, _SEGMENT, 2, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", _LOAD, 6, 0, 0, 0, size, size, _PAGE)
    span = len(entries) * _ENTRY
    header += struct.pack("<IIQQQQQQ", _DYNAMIC, 6, dynamic, dynamic, dynamic, span, span, 8)
    body = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    return header + body + bytes(_SYMBOL) + struct.pack("<IIII", 1, 1, 0, 0) + strings

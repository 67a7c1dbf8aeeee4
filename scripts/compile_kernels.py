#!/usr/bin/env python3
"""Compile the package's CUDA kernels to PTX, which any newer GPU's driver compiles for itself. Needs no GPU.

It needs NVRTC, of CUDA 12.0 so that drivers from 525 on understand the PTX:
``pip download --no-deps nvidia-cuda-nvrtc-cu12==12.0.140``, then unpack the wheel somewhere and name its library:
``python scripts/compile_kernels.py .../nvidia/cuda_nvrtc/lib/libnvrtc.so.12``.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from pathlib import Path

SOURCES = (Path(__file__).parents[1] / "trtconv/data/scaling.cu",)
OPTIONS = (b"--gpu-architecture=compute_75", b"--fmad=false")


def main() -> None:
    """Write a .ptx beside each source; its first line holds the source's digest."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} LIBNVRTC\n{__doc__}")
    nvrtc = ctypes.CDLL(sys.argv[1])
    for source in SOURCES:
        text = source.read_bytes()
        digest = hashlib.sha256(text).hexdigest()
        target = source.with_suffix(".ptx")
        target.write_text(f"// {source.name} {digest}\n{compiled(nvrtc, source.name, text)}")
        print(target, target.stat().st_size, "bytes")


def compiled(nvrtc: ctypes.CDLL, name: str, source: bytes) -> str:
    """PTX of a source; the compiler's complaints end the program."""
    program = ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 0, None, None))
    status = nvrtc.nvrtcCompileProgram(program, len(OPTIONS), (ctypes.c_char_p * len(OPTIONS))(*OPTIONS))
    if status:
        sys.exit(_text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program))
    return _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)


def _text(size_of: ctypes._FuncPointer, text_of: ctypes._FuncPointer, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(text_of(program, text))
    return text.value.decode()


def _check(status: int) -> None:
    if status:
        sys.exit(f"NVRTC failed with status {status}")


if __name__ == "__main__":
    main()

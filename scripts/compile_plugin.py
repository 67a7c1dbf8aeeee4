#!/usr/bin/env python3
"""Compile a TensorRT plugin with nvcc: scripts/compile_plugin.py docs/plugins/scale.cu -o libscale.so.

nvcc is that of PATH, or of the packages nvidia-cuda-nvcc, nvidia-cuda-crt, nvidia-nvvm, nvidia-cuda-runtime and
nvidia-cuda-cccl in the environment that runs this (pip install them; they want a host compiler such as g++). TensorRT's
headers are in none of its wheels: --include names their folder, such as the one of github.com/NVIDIA/TensorRT at the
version of the TensorRT that will load the plugin. Nothing is linked against TensorRT.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

TARGETS = ("75", "80", "86", "89", "90", "120")
USUAL = (
    "/usr/include/x86_64-linux-gnu",
    "/usr/include/aarch64-linux-gnu",
    "/usr/local/include",
    "/usr/src/tensorrt/include",
)


def main() -> None:
    """Compile, and end as the compiler does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a .cu file that exports getCreators")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the library to write")
    parser.add_argument("--include", type=Path, help="folder of NvInferRuntime.h (default: where packages put it)")
    parser.add_argument(
        "--target", nargs="+", default=TARGETS, metavar="NN", help=f"of GPUs (default {' '.join(TARGETS)})"
    )
    asked = parser.parse_args()
    command = compile_command(asked.source, asked.output, asked.include or headers(), asked.target)
    print(" ".join(map(str, command)))
    sys.exit(subprocess.run(command, check=False).returncode)


def compile_command(source: Path, output: Path, include: Path, targets: tuple[str, ...]) -> list[str | Path]:
    """What compiles one file; code for each target, and PTX of the last for GPUs to come."""
    nvcc, home = compiler()
    codes = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in targets]
    codes.append(f"-gencode=arch=compute_{targets[-1]},code=compute_{targets[-1]}")
    packaged: list[str | Path] = [f"-I{home / 'include'}", f"-L{home / 'lib'}"] if home else []
    quiet = "-Wno-deprecated-declarations"  # of TensorRT's own headers
    shared = ["-shared", "-Xcompiler", f"-fPIC,{quiet}", "-O2", "-std=c++17", "--diag-suppress=997"]
    return [nvcc, *shared, *codes, f"-I{include}", *packaged, source, "-o", output]


def compiler() -> tuple[Path, Path | None]:
    """nvcc, and the folder of its packages where it is theirs."""
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        for nvcc in sorted(Path(folder).glob("*/bin/nvcc")):
            return nvcc, nvcc.parents[1]
    if on_path := shutil.which("nvcc"):
        return Path(on_path), None
    sys.exit("no nvcc: pip install nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl")


def headers() -> Path:
    """Where NvInferRuntime.h is usually."""
    for folder in map(Path, USUAL):
        if (folder / "NvInferRuntime.h").exists():
            return folder
    sys.exit("no NvInferRuntime.h: name the folder of TensorRT's headers with --include")


if __name__ == "__main__":
    main()

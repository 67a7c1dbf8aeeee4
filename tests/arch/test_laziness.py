"""Nothing heavy is imported before it is needed: measured with the interpreter's own import log."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module

import click
import pytest

import trtconv
from trtconv.cli.main import cli

HEAVY = {
    "tensorflow",
    "tf2onnx",
    "tf_keras",
    "keras",
    "tensorrt",
    "tensorrt_rtx",
    "onnxruntime",
    "onnx",
    "torch",
    "cuda",
    "pycuda",
    "sklearn",
}
ALLOWED_AT_IMPORT = {"onnx"}  # graph and calibration code may import it at module level; commands must not reach it


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            yield from commands(child, (*path, name))


def imported(*arguments: str) -> tuple[set[str], str]:
    """Top-level packages that ``python ARGUMENTS`` imports, and its standard output."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    names = re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)
    return {name.partition(".")[0] for name in names}, done.stdout


def test_the_import_log_sees_heavy_packages() -> None:
    assert "onnx" in imported("-c", "import onnx")[0]


def test_import_trtconv() -> None:
    assert not imported("-c", "import trtconv")[0] & HEAVY


@pytest.mark.parametrize("path", list(commands(cli)), ids=lambda path: " ".join(path) or "trtconv")
def test_help(path: tuple[str, ...]) -> None:
    packages, text = imported("-m", "trtconv", *path, "--help")
    assert "trtconv" in packages
    assert not packages & HEAVY
    assert " ".join(("Usage: trtconv", *path)) in text.replace("python -m trtconv", "trtconv")


def test_no_module_needs_a_heavy_package_to_be_imported() -> None:
    blocked = sorted(HEAVY - ALLOWED_AT_IMPORT)
    names = [module.name for module in pkgutil.walk_packages(trtconv.__path__, "trtconv.")]
    assert "trtconv.core.child" in names
    program = f"import sys, importlib; sys.modules.update(dict.fromkeys({blocked}))\n" + "\n".join(
        f"importlib.import_module({name!r})" for name in names if not name.endswith("__main__")
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_package_folder_says_what_it_is_for() -> None:
    for module in pkgutil.iter_modules(trtconv.__path__, "trtconv."):
        if module.ispkg:
            assert import_module(module.name).__doc__, module.name

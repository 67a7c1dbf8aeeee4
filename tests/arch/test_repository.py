"""House rules that no tool checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import trtconv
from trtconv.adapters import cuda
from trtconv.cli.commands import doctor

ROOT = Path(__file__).parents[2]
FOLDERS = ("trtconv", "tests", "scripts", "benchmarks", "configs", "docs", ".ci")
LARGEST = 512 * 1024


def files() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    found += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml") or path.name == "Makefile"]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def texts() -> list[tuple[Path, str]]:
    binary = {".npz", ".npy", ".onnx", ".pb", ".engine", ".h5", ".keras", ".pyc"}
    return [(path, path.read_text()) for path in files() if path.suffix not in binary]


def test_import_directions() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_newest_change_is_this_version() -> None:
    newest = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == trtconv.__version__


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")
    assert [(str(path), found[0]) for path, text in texts() for found in marks.finditer(text)] == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    home = re.compile(r"(?<![\w./])/(?:home|root|Users|work)/\w+")
    assert [(str(path), found[0]) for path, text in texts() for found in home.finditer(text)] == []


def test_no_large_file_is_kept() -> None:
    assert [str(path) for path in files() if path.stat().st_size > LARGEST] == []


def test_extras_that_the_code_names_exist() -> None:
    """The table of doctor, the two ways to CUDA, and every ``MissingPackage(package, "extra", why)``."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras) - {"dev"}
    for extra, groups in doctor.EXTRAS.items():
        declared = {re.split(r"[<>=~;! \[]", row)[0].lower() for row in extras[extra]}
        installable = {name.replace("_", "-") for name in declared}
        for group in groups:  # any one of a group does
            assert {name.lower().replace("_", "-") for name in group} & installable, extra
    assert set(cuda.APIS) <= set(extras)
    assert {call.args[1].value for call in missing_packages() if isinstance(call.args[1], ast.Constant)} <= set(extras)


def missing_packages() -> list[ast.Call]:
    found = [
        node
        for file in (ROOT / "trtconv").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingPackage")
    ]
    assert found
    return found

"""Every command in the documentation runs, and prints what the documentation says it prints.

A fenced ``console`` block holds commands (``$ ...``) and, below each, fragments of what it prints. ``<!-- exit N -->``
before a block says that its commands end with that code. Commands run in order, in a copy of the repository's visible
files with the digits data in place. Three kinds of commands are handled: ``trtconv`` really runs; ``make TARGET`` is
checked by its dry run (``make -n``), because the targets install packages and call this test; of ``pip install`` the
extras are looked up in pyproject.toml.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

import click
import pytest

from tests.conftest import INT8_CONVOLUTIONS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- exit (\d+) -->\n)?```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\((?!https?:|#)([^)#]+)")


@dataclass(frozen=True)
class Shown:
    """A command as documented: its text, how it ends, and fragments of what it prints."""

    text: str
    code: int
    fragments: tuple[str, ...]


def commands(document: Path) -> list[Shown]:
    shown = []
    for code, block in BLOCK.findall(document.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, *output = part.replace("\\\n", " ").splitlines()
            fragments = [piece.strip() for line in output for piece in line.split("...")]
            shown.append(Shown(text, int(code or 0), tuple(filter(None, fragments))))
    return shown


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The files that a reader of the documentation has, and ``trtconv`` on the path."""
    for name in ("configs", "scripts", "Makefile", "pyproject.toml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    program = tmp_path / ".bin/trtconv"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m trtconv "$@"\n')
    program.chmod(0o755)
    return tmp_path


def test_blocks_are_read_as_documented(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n<!-- exit 2 -->\n```console\n$ trtconv a \\\n  -b\none ... two\n$ make c\n```\n```yaml\n$ no\n```\n"
    )
    assert commands(page) == [Shown("trtconv a    -b", 2, ("one", "two")), Shown("make c", 2, ())]


@pytest.mark.tf
@INT8_CONVOLUTIONS
@pytest.mark.parametrize("document", [page for page in DOCUMENTS if commands(page)], ids=lambda page: page.name)
def test_commands(document: Path, workspace: Path, digits_data: Path) -> None:
    shutil.copytree(digits_data, workspace / "build/digits-data")
    for shown in commands(document):
        CHECKS[shown.text.split()[0]](shown, workspace)


def run(shown: Shown, folder: Path) -> None:
    path = f"{folder / '.bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", shown.text],
        cwd=folder,
        env={**os.environ, "PATH": path, "TMPDIR": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    printed = f"{done.stdout}{done.stderr}"
    assert done.returncode == shown.code, f"{shown.text}\n{printed}"
    for fragment in shown.fragments:
        assert " ".join(fragment.split()) in " ".join(printed.split()), f"{shown.text}\n{printed}"


def dry_run(shown: Shown, folder: Path) -> None:
    target = shown.text.split()[1]
    run(Shown(f"make -n {target}", 0, ()), folder)
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make help hides {target}"


def look_up(shown: Shown, _folder: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = re.fullmatch(r"pip install '\.\[([\w,]+)\]'", shown.text)
    assert wanted is not None, shown.text
    assert set(wanted[1].split(",")) <= set(extras)


CHECKS = {"trtconv": run, "make": dry_run, "pip": look_up}


def test_every_command_is_documented() -> None:
    from trtconv.cli.main import cli

    text = "\n".join(page.read_text() for page in DOCUMENTS)
    names = cli.list_commands(click.Context(cli))
    assert [name for name in names if not re.search(rf"\btrtconv {name}\b", text)] == []


def test_every_stage_and_exit_code_has_its_row() -> None:
    from trtconv.core import errors
    from trtconv.pipeline.steps import STAGES

    text = (ROOT / "README.md").read_text()
    assert [name for name in STAGES if name != "reference" and f"| `{name}` |" not in text] == []
    classes = [found for found in vars(errors).values() if isinstance(found, type)]
    codes = {found.exit_code for found in classes if issubclass(found, errors.TrtconvError)} | {0, 128 + SIGTERM}
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}


def test_every_extra_has_its_row() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "README.md").read_text()
    assert [name for name in extras if name != "dev" and f"| `{name}` |" not in text] == []


def test_the_job_shown_is_the_job_that_works() -> None:
    """The job in the README says what configs/digits.yaml says."""
    import yaml

    shown = re.findall(r"^```yaml\n(version: 1.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [yaml.safe_load(text) for text in shown] == [yaml.safe_load((ROOT / "configs/digits.yaml").read_text())]


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_to_files(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []

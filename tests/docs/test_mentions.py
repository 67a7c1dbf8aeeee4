"""Commands that are only mentioned, in text, in --help and in hints, exist with every option that they are shown with.

Commands in ``console`` blocks run in test_readme.py; what stands in a sentence cannot run, but must not be wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from trtconv.cli.main import COMMANDS, cli
from trtconv.job.trtexec_flags import FLAGS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for path in (ROOT / "docs/ci").iterdir() if path.is_file()),
    *sorted((ROOT / "configs").glob("*.yaml")),
]
MENTION = re.compile(r"\btrtconv ([a-z]+)((?: [^`\n|;,.\"')]+)?)")
OPTION = re.compile(r"(?<=\s)--?[a-zA-Z][\w-]*")


def mentions(text: str) -> Iterator[tuple[str, str]]:
    """(command, the rest of the line) wherever the word after ``trtconv`` is a command."""
    for word, rest in MENTION.findall(text.replace("\\\n", " ")):
        if word in COMMANDS:
            yield word, rest


def options(name: str) -> set[str]:
    """What a command takes, with what its own commands take."""
    if name == "trtexec":
        return {f"--{flag}" for flag in FLAGS}
    context = click.Context(cli)
    found, command = {"--help", "-h"}, cli.get_command(context, name)
    assert command is not None
    inner = (
        [command.get_command(context, each) for each in command.commands] if isinstance(command, click.Group) else []
    )
    for each in filter(None, [command, *inner]):
        found |= {option for parameter in each.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return found


def unknown(text: str) -> list[str]:
    return [
        f"trtconv {name} {option}"
        for name, rest in mentions(text)
        for option in OPTION.findall(rest)
        if option not in options(name)
    ]


def strings(path: Path) -> Iterator[str]:
    """Every text in a module, with a space for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)


def test_what_counts_as_a_mention() -> None:
    assert unknown("`trtconv run JOB --locked` and trtconv runs --fast, or trtconv bench X --fast -q") == [
        "trtconv bench --fast"
    ]
    assert unknown("trtconv trtexec --onnx=a --fp61") == ["trtconv trtexec --fp61"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages(page: Path) -> None:
    assert unknown(page.read_text()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "trtconv").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_help_and_hints(path: Path) -> None:
    assert [wrong for text in strings(path) for wrong in unknown(text)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_a_help_page_is_parsed(name: str) -> None:
    """The lines under an escape mark in a docstring: right options with right kinds of values, nothing missing."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for line in re.findall(r"^ *trtconv (.+)$", command.help or "", re.MULTILINE):
        words = [word.strip("'") for word in line.partition(" > ")[0].split()]
        assert words[0] == name
        if not isinstance(command, click.Group):
            command.make_context(name, words[1:])

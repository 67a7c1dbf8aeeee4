"""Commands that stand in sentences, in indented lines and in the comments of job files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
JOBS = sorted(path for path in (ROOT / "configs").glob("*.yaml") if not path.name.endswith(".lock.yaml"))
WORDS = "trtconv|python3?|make|pip|ray|tritonserver"
FENCED = re.compile(r"^( *)(`{3,}).*?^\1\2`*$", re.MULTILINE | re.DOTALL)
"""Blocks of these are run by test_readme.py, or are no commands."""

INDENTED = re.compile(rf"^ {{4}}(?:\w*\$ )?((?:{WORDS}) +[\w./'-].*)$", re.MULTILINE)
COMMENT = re.compile(rf"^# {{2,}}((?:{WORDS}) +[\w./'-].*)$", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")


def commands() -> dict[str, list[str]]:
    """Every command -> the files that show it; names of commands without anything after them are none."""
    found: dict[str, list[str]] = {}
    for page in (*PAGES, *JOBS):
        for command in _of(page):
            found.setdefault(command, []).append(page.name)
    return found


def _of(page: Path) -> Iterator[str]:
    text, is_page = FENCED.sub("", page.read_text()), page.suffix == ".md"
    for line in (INDENTED if is_page else COMMENT).findall(text):
        yield re.split(r" {2,}#?| #", line)[0].strip()
    if is_page:
        plain = re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)
        for code in INLINE.findall(plain):
            words = " ".join(code.split())
            if re.match(rf"(?:{WORDS}) \S", words) and not re.fullmatch(r"trtconv [a-z]+", words):
                yield words

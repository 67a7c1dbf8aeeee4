"""Gates as JUnit XML and as annotations of GitHub Actions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2; CR is lost
_PLACE = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<col>\d+): (?P<text>.+)")


def junit(job: str, verdicts: Sequence[Any], failed: Sequence[tuple[str, str]]) -> str:
    """One test suite per job: a test case per gate, and an error per step that failed.

    Args:
        job: its file.
        verdicts: of ``pipeline.gates``.
        failed: (step, message).
    """
    from xml.etree import ElementTree  # imported here: every run that prints gates imports this module

    def element(above: Any, tag: str, **attributes: str) -> Any:
        made = {name: _xml(value) for name, value in attributes.items()}
        return ElementTree.Element(tag, made) if above is None else ElementTree.SubElement(above, tag, made)

    counts = {
        "tests": str(len(verdicts) + len(failed)),
        "failures": str(sum(not v.passed for v in verdicts)),
        "errors": str(len(failed)),
    }
    suite = element(None, "testsuite", name=f"trtconv {job}", **counts)
    for verdict in verdicts:
        case = element(suite, "testcase", classname=job, name=verdict.name)
        if verdict.passed:
            element(case, "system-out").text = _xml(verdict.said)
        else:
            kind = "accuracy" if verdict.exit_code == 6 else "performance"
            element(case, "failure", type=kind, message=verdict.said)
    for step, message in failed:
        case = element(suite, "testcase", classname=job, name=step)
        element(case, "error", message=message.partition("\n")[0]).text = _xml(message)
    ElementTree.indent(suite)
    written: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return f"{written.decode()}\n"


def _xml(text: str) -> str:
    """Characters that no XML document may hold, spelled out."""
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def github(job: str, verdicts: Sequence[Any], failed: Sequence[tuple[str, str]]) -> str:
    """Workflow commands that GitHub shows at the job file; problems with a line of their own, there."""
    told = [(verdict.name, verdict.said) for verdict in verdicts if not verdict.passed]
    told += [(step, part) for step, message in failed for part in _by_place(message)]
    return "\n".join(_annotation(job, title, text) for title, text in told)


def _by_place(message: str) -> list[str]:
    lines = message.splitlines()
    return lines if lines and all(map(_PLACE.fullmatch, lines)) else [message]


def _annotation(job: str, title: str, text: str) -> str:
    place = {"file": job}
    if found := _PLACE.fullmatch(text):
        place, text = {name: found[name] for name in ("file", "line", "col")}, found["text"]
    properties = ",".join(f"{name}={_value(value)}" for name, value in {**place, "title": title}.items())
    return f"::error {properties}::{_data(text)}"


def _data(text: str) -> str:
    """As actions/toolkit escapes what a command says."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

"""Gates as JUnit XML and as annotations of GitHub Actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def junit(job: str, verdicts: Sequence[Any], failed: Sequence[tuple[str, str]]) -> str:
    """One test suite per job: a test case per gate, and an error per step that failed.

    Args:
        job: its file.
        verdicts: of ``pipeline.gates``.
        failed: (step, message).
    """
    from xml.etree import ElementTree  # imported here: every run that prints gates imports this module

    suite = ElementTree.Element(
        "testsuite",
        name=f"trtconv {job}",
        tests=str(len(verdicts) + len(failed)),
        failures=str(sum(not v.passed for v in verdicts)),
        errors=str(len(failed)),
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=job, name=verdict.name)
        if verdict.passed:
            ElementTree.SubElement(case, "system-out").text = verdict.said
        else:
            kind = "accuracy" if verdict.exit_code == 6 else "performance"
            ElementTree.SubElement(case, "failure", type=kind, message=verdict.said)
    for step, message in failed:
        case = ElementTree.SubElement(suite, "testcase", classname=job, name=step)
        ElementTree.SubElement(case, "error", message=message.splitlines()[0]).text = message
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def github(job: str, verdicts: Sequence[Any], failed: Sequence[tuple[str, str]]) -> str:
    """Workflow commands that GitHub shows at the job file."""
    lines = [f"::error file={job},title={_value(v.name)}::{_text(v.said)}" for v in verdicts if not v.passed]
    lines += [f"::error file={job},title={_value(step)}::{_text(message)}" for step, message in failed]
    return "\n".join(lines)


def _text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")

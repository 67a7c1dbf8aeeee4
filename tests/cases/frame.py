"""What a case is: files, command lines of trtconv, and what must come of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
from onnx.reference import ReferenceEvaluator

_ROOT = Path(__file__).parents[2]
LIMIT = 600  # seconds for one command
_SAME = 2e-2


@dataclass(frozen=True)
class Outcome:
    """What the commands of a case did.

    Attributes:
        folder: where they ran.
        codes: exit codes.
        said: standard output and error of each.
    """

    folder: Path
    codes: list[int]
    said: list[str]

    @property
    def last(self) -> str:
        """What the last command said, its spaces made one."""
        return " ".join(self.said[-1].split())


Judge = Callable[[Outcome], tuple[bool, str]]
"""Whether that is right, and what came in a few words."""


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: of the case; variants after a slash.
        kind: wrong numbers, wrong refusals, crashes or messages.
        files: the maker of its files, a function of ``onnx_files`` or ``tensorflow_files``; in a folder of other
            makers the script of that name.
        commands: command lines of trtconv, in order.
        right: what must come, for people.
        judge: the same for the machine.
        environment: further variables.
    """

    name: str
    kind: str
    files: str
    commands: Sequence[str]
    right: str
    judge: Judge
    environment: Mapping[str, str] = field(default_factory=dict)


def run(case: Case, folder: Path) -> Outcome:
    """Run a case's commands in a folder that holds its files; the first crash or hang ends it."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "TRTCONV_CACHE": "off", **case.environment}
    codes, said = [], []
    for line in case.commands:
        command = [sys.executable, "-m", "trtconv", *shlex.split(line)]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            codes.append(124)
            said.append(f"not done after {LIMIT} s")
            break
        codes.append(done.returncode)
        said.append(done.stdout + done.stderr)
    return Outcome(folder, codes, said)


def exits(*wanted: int, says: str = "", lacks: str = "") -> Judge:
    """The commands end with these codes (one for all, or the last so many), the last one says this and not that."""

    def judge(outcome: Outcome) -> tuple[bool, str]:
        codes = outcome.codes[-len(wanted) :] if len(wanted) > 1 else outcome.codes
        right = codes == list(wanted) if len(wanted) > 1 else set(codes) == set(wanted)
        right &= says in outcome.last and not (lacks and lacks in outcome.last)
        return right, f"exit {', '.join(map(str, codes))}{_news(outcome)}"

    return judge


def either(*judges: Judge) -> Judge:
    """Any of several ends will do."""

    def judge(outcome: Outcome) -> tuple[bool, str]:
        found = [one(outcome) for one in judges]
        return next((each for each in found if each[0]), found[0])

    return judge


def both(*judges: Judge) -> Judge:
    """Several things must hold."""

    def judge(outcome: Outcome) -> tuple[bool, str]:
        found = [one(outcome) for one in judges]
        return all(right for right, _ in found), "; ".join(text for _, text in found)

    return judge


def _news(outcome: Outcome) -> str:
    """The error, in its first words."""
    if "Traceback" in outcome.said[-1]:
        return ": traceback"
    found = re.search(r"error: (.{0,90})", outcome.last)
    return f": {found[1].strip()}" if found else ""


def strictly(source: str, typed: str, data: str, limit: float = _SAME) -> Judge:
    """A typed model by onnx's reference evaluator, which rounds at every node, against FP32 by ONNX Runtime."""

    def judge(outcome: Outcome) -> tuple[bool, str]:
        if any(outcome.codes) or not (outcome.folder / typed).exists():
            return False, f"exit {outcome.codes[-1]}{_news(outcome)}"
        arrays = np.load(outcome.folder / data)
        session = onnxruntime.InferenceSession(outcome.folder / source, providers=["CPUExecutionProvider"])
        feeds = {entry.name: arrays[entry.name] for entry in session.get_inputs()}
        evaluator = ReferenceEvaluator(str(outcome.folder / typed))
        with np.errstate(all="ignore"):
            got = dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))
        names = [entry.name for entry in session.get_outputs()]
        worst, undefined = 0.0, 0
        for name, wanted in zip(names, session.run(names, feeds), strict=True):
            lost, broken = _distance(np.asarray(wanted), np.asarray(got[name]))
            worst, undefined = max(worst, lost), undefined + broken
        return not undefined and worst <= limit, f"difference {worst:.2g}" + (f", {undefined} NaN" if undefined else "")

    return judge


def _distance(wanted: np.ndarray, got: np.ndarray) -> tuple[float, int]:
    """Largest difference over the largest value, and NaN that were numbers."""
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    undefined = int((np.isnan(got) & ~np.isnan(wanted)).sum())
    usable = ~np.isnan(got) & ~np.isnan(wanted) & (got != wanted)
    peak = float(np.abs(wanted[~np.isnan(wanted)]).max(initial=0))
    lost = float(np.abs(got - wanted)[usable].max(initial=0))
    return (lost / peak if peak else lost), undefined


def computes(model: str, data: str, **wanted: Sequence[float]) -> Judge:
    """A converted model gives these outputs."""

    def judge(outcome: Outcome) -> tuple[bool, str]:
        if any(outcome.codes):
            return False, f"exit {outcome.codes[-1]}{_news(outcome)}"
        arrays = np.load(outcome.folder / data)
        session = onnxruntime.InferenceSession(outcome.folder / model, providers=["CPUExecutionProvider"])
        got = dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(arrays)), strict=True))
        texts = [f"{name} = {got[name].tolist()}" for name in wanted]
        return all(np.array_equal(got[name], values) for name, values in wanted.items()), ", ".join(texts)

    return judge


def cosine(source: str, typed: str, data: str, least: float) -> Judge:
    """Every output of a typed model points where the source's does."""

    def judge(outcome: Outcome) -> tuple[bool, str]:
        if not (outcome.folder / typed).exists():
            return False, f"exit {outcome.codes[-1]}{_news(outcome)}"
        feeds = dict(np.load(outcome.folder / data))
        session = onnxruntime.InferenceSession(outcome.folder / source, providers=["CPUExecutionProvider"])
        evaluator = ReferenceEvaluator(str(outcome.folder / typed))
        got = dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))
        found = {}
        for entry, wanted in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            a, b = wanted.ravel().astype(np.float64), got[entry.name].ravel().astype(np.float64)
            found[entry.name] = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))
        name = min(found, key=lambda one: found[one])
        return found[name] > least, f"cosine of {name} {found[name]:.3f}"

    return judge

"""A command line of trtexec taken apart: flags with their values, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.job.trtexec_flags import FLAGS
from trtconv.job.trtexec_shapes import BOUNDS, Given

PLUGINS = ("plugins", "staticPlugins", "dynamicPlugins", "setPluginsToSerialize")
"""Flags that name plugin libraries."""

REPEATABLE = frozenset({"uffInput", "output", *PLUGINS})


def parse(arguments: Sequence[str]) -> Given:
    """Flags with their values; of those that bound a profile, one value per profile.

    Raises:
        UsageError: all at once: unknown flags with the nearest name, values that are missing or too many.
    """
    given: dict[str, tuple[str, ...]] = {}
    problems = []
    profile = 0
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        problem = _malformed(argument, name, bool(equals))
        before = given.get(name, ())
        if name == "profile" and not problem:
            problem = (
                "" if value == str(len(before)) else f"--profile={value}: expected {len(before)}: they are counted"
            )
            profile = len(before)
        elif name in BOUNDS:  # one value per profile, empty where a profile has none
            before += ("",) * (profile - len(before))
            problem = problem or (f"--{name} is given twice in a profile" if len(before) > profile else "")
        elif not problem and before and name not in REPEATABLE:
            problem = f"--{name} is given twice"
        problems += [problem] if problem else []
        given[name] = (*before, value)
    fail(problems)
    return given


def _malformed(argument: str, name: str, has_value: bool) -> str:
    if not argument.startswith("--"):
        return f"{argument}: expected a flag; a value follows its flag after '=', as in --onnx=model.onnx"
    if name not in FLAGS:
        nearest = did_you_mean(f"--{name}", [f"--{known}" for known in FLAGS])
        return f"--{name}: no flag of trtexec 8.6, 10 or 11; {nearest}".rstrip("; ")
    if FLAGS[name].takes and not has_value:
        return f"--{name}: needs a value: --{name}={FLAGS[name].takes}"
    if has_value and not FLAGS[name].takes:
        return f"--{name}: takes no value"
    return ""


def fail(problems: Sequence[str]) -> None:
    """Raise all problems as one UsageError, if there are any."""
    if problems:
        raise UsageError("\n".join(problems), hint="docs/trtexec.md says of every flag what becomes of it")

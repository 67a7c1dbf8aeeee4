"""Which nodes a user's rules name, and which rules name nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import onnx

from trtconv.core.errors import UsageError
from trtconv.core.names import one_of
from trtconv.core.records import KeepRules
from trtconv.graph import editing


class Matcher:
    """KeepRules ready to be asked, remembering which of them ever matched.

    Args:
        sections: rules by the name of their place in the job, ``keep`` or ``exclude``.

    Raises:
        UsageError: a name pattern that is no regular expression.
    """

    def __init__(self, **sections: KeepRules) -> None:
        self._ops = [(section, op) for section, rules in sections.items() for op in rules.ops]
        self._names = [
            (section, pattern, _compiled(pattern, section))
            for section, rules in sections.items()
            for pattern in rules.names
        ]
        self._hit: set[tuple[str, str]] = set()

    def reason(self, node: Any) -> str:
        """Why the rules take this node; empty when they do not."""
        found = [(section, op) for section, op in self._ops if node.op_type == op]
        found += [
            (section, pattern) for section, pattern, expression in self._names if expression.search(editing.label(node))
        ]
        self._hit.update(found)
        return f"{found[0][0]}: {found[0][1]}" if found else ""

    def idle(self, section: str) -> tuple[str, ...]:
        """Rules of a section that matched nothing so far."""
        rules = [*self._ops, *((name, pattern) for name, pattern, _ in self._names)]
        return tuple(rule for name, rule in rules if name == section and (name, rule) not in self._hit)


def _compiled(pattern: str, section: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"{section}.names: {pattern!r} is not a regular expression: {error}",
            hint="escape special characters with a backslash",
        ) from None


def require_known(model: Any, sections: Mapping[str, KeepRules]) -> dict[str, str]:
    """Hold rules to the nodes of a model, whatever precision it gets.

    Args:
        model: FP32 ONNX with named nodes.
        sections: rules by their place in the job, as ``lower.keep``.

    Returns:
        Operators of ONNX that the model does not have, with a sentence each: rules for many models may name them.

    Raises:
        UsageError: a name pattern that no node matches, an operator that neither the model nor ONNX has.
    """
    nodes = [node for _, node in editing.walk(model.graph)]
    names, operators = [editing.label(node) for node in nodes], {node.op_type for node in nodes}
    absent: dict[str, str] = {}
    for section, rules in sections.items():
        for pattern in rules.names:
            if not any(map(_compiled(pattern, section).search, names)):
                hint = one_of(pattern, set(names), "nodes")
                raise UsageError(f"{section}.names: no node matches {pattern!r}", hint=hint)
        for name in (name for name in rules.ops if name not in operators):
            if not onnx.defs.has(name):
                raise UsageError(
                    f"{section}.ops: neither the model nor ONNX has an operator {name!r}",
                    hint=one_of(name, operators, "operators"),
                )
            absent[name] = f"{section}.ops: the model has no {name}; it has {', '.join(sorted(operators))}"
    return absent

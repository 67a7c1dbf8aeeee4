"""Which nodes a user's rules name, and which rules name nothing."""

from __future__ import annotations

import re
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.records import KeepRules
from trtconv.graph import editing


class Matcher:
    """KeepRules ready to be asked, remembering which of them ever matched.

    Args:
        rules: operator types and regular expressions.
        section: where they stand in the job, for errors: ``keep`` or ``exclude``.

    Raises:
        UsageError: a name pattern that is no regular expression.
    """

    def __init__(self, rules: KeepRules, section: str) -> None:
        self._section = section
        self._ops = dict.fromkeys(rules.ops, False)
        self._names = {pattern: _compiled(pattern, section) for pattern in rules.names}
        self._hit: set[str] = set()

    def reason(self, node: Any) -> str:
        """Why the rules take this node; empty when they do not."""
        if node.op_type in self._ops:
            self._hit.add(node.op_type)
            return f"{self._section}: operator {node.op_type}"
        for pattern, expression in self._names.items():
            if expression.search(editing.label(node)):
                self._hit.add(pattern)
                return f"{self._section}: name {pattern!r}"
        return ""

    def idle(self) -> list[str]:
        """Rules that matched nothing so far."""
        return [rule for rule in (*self._ops, *self._names) if rule not in self._hit]


def _compiled(pattern: str, section: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{section}.names: {pattern!r} is not a regular expression: {error}",
                         hint="escape special characters with a backslash") from None  # fmt: skip

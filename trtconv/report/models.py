"""What a model file holds, whoever wrote it: inputs, outputs, operators, size; without the framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trtconv import sources
from trtconv.core.digests import files_under
from trtconv.core.errors import UsageError
from trtconv.core.lazy import resolve
from trtconv.core.records import TensorInfo
from trtconv.core.units import format_bytes
from trtconv.report.tables import table
from trtconv.sources.format import Format
from trtconv.sources.records import Description, Tensors


def look(path: Path, found: Format) -> Description:
    """What the format's wing tells of a model.

    Raises:
        SourceError: damaged.
        UsageError: nothing can be told without the framework.
    """
    if not found.describe:
        raise UsageError(
            f"{path}: cannot look into a {found.name}", hint="freeze or convert it, then inspect the result"
        )
    described: Description = resolve(found.describe)(path)
    return described


def describe(path: Path, found: Format) -> tuple[dict[str, Any], str]:
    """Facts as JSON-like values, and as text.

    Raises:
        SourceError: damaged.
        UsageError: nothing can be told without the framework.
    """
    seen = look(path, found)
    own = sources.file_of(path, found)
    size = sum(file.stat().st_size for file in files_under(own)) if own.exists() else 0
    document: dict[str, Any] = {"kind": found.name, **seen.facts, "size": size}
    if not any(each.signature or each.caption for each in seen.tensors):
        document[seen.counted] = dict(seen.counts.most_common())
    head = f"{path}: {seen.title}, {format_bytes(size)}, {seen.counts.total()} {seen.counted}"
    if len(seen.tensors) == 1 and not seen.tensors[0].caption:
        document |= {"inputs": _plain(seen.tensors[0].inputs), "outputs": _plain(seen.tensors[0].outputs)}
        blocks = [f"{head}\n{_table(seen.tensors[0])}"]
    else:
        blocks = [head, *("\n".join(filter(None, (each.caption, _table(each)))) for each in seen.tensors)]
    return document, "\n\n".join([*blocks, _histogram(seen.counts)])


def _plain(tensors: Sequence[TensorInfo]) -> list[dict[str, Any]]:
    return [vars(tensor) for tensor in tensors]


def _histogram(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def _table(group: Tensors) -> str:
    return tensors(group.inputs, group.outputs, group.outputs_are) if group.inputs or group.outputs else ""


def tensors(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], outputs_are: str = "output") -> str:
    """Inputs and outputs as a table."""
    rows = [
        [kind, t.name, t.dtype or "?", f"[{', '.join(map(str, t.shape))}]" if t.shape else "?"]
        for kind, group in (("input", inputs), (outputs_are, outputs))
        for t in group
    ]
    return table(["", "name", "type", "shape"], rows)

"""What happened: per step, everything that decided its outcome and what came out. Makes "up to date" checkable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv import __version__
from trtconv.core import digests, versions
from trtconv.core.files import data_of, write_json
from trtconv.pipeline import machine
from trtconv.pipeline.steps import STAGES, Node

_SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """One finished step.

    Attributes:
        key: everything that decides the outcome, as plain values: versions, options, digests of inputs and of the
            files of the steps before.
        outputs: SHA-256 per file made, by path.
        contents: SHA-256 of the files that later steps read, in the step's own order: the same wherever they lie.
        result: the stage's result as plain values.
        seconds: wall time it took.
        peak_memory: of its process, in bytes.
    """

    key: Mapping[str, Any]
    outputs: Mapping[str, str]
    contents: Sequence[str]
    result: Mapping[str, Any]
    seconds: float
    peak_memory: int


@dataclass
class State:
    """The records of a job's output folder, with a memory of digests so that unchanged files are not read again."""

    folder: Path
    records: dict[str, Record] = field(default_factory=dict)
    _known: dict[str, list[Any]] = field(default_factory=dict)
    _versions: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read the state of a folder; a missing, foreign or older one counts as empty."""
        try:
            raw = json.loads((folder / "state.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return cls(folder)
        if raw.get("schema") != _SCHEMA:
            return cls(folder)
        return cls(folder, {name: Record(**record) for name, record in raw["records"].items()}, raw["digests"])

    def save(self) -> None:
        """Write the state, atomically."""
        records = {name: vars(record) for name, record in self.records.items()}
        write_json(self.folder / "state.json", {"schema": _SCHEMA, "records": records, "digests": self._known})

    def digest(self, path: Path) -> str:
        """SHA-256 of a file or folder; a file whose size, mtime and inode did not change is not read.

        An ONNX model with its large tensors in a file beside it counts as one with that file.
        """
        if path.is_file():
            data = data_of(path)
            return digests.of_value([self._file(path), self._file(data)]) if data.exists() else self._file(path)
        parts = [f"{file.relative_to(path).as_posix()} {self._file(file)}" for file in self._given(path)]
        return digests.of_value(parts)

    def _given(self, folder: Path) -> list[Path]:
        """The files of a folder that somebody gave: lock files and what the job makes may lie in it too."""
        made = self.folder.parent.parent
        inside = made != folder and made.is_relative_to(folder)
        return [
            file
            for file in digests.files_under(folder)
            if not file.name.endswith(".lock.yaml") and not (inside and file.is_relative_to(made))
        ]

    def _file(self, path: Path) -> str:
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known is None or known[:3] != mark:
            known = [*mark, digests.of_file(path)]
            self._known[str(path)] = known
        return str(known[3])

    def key(self, node: Node, contents: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
        """Everything that decides what a step makes.

        Args:
            node: the step.
            contents: digests of what the steps before made, by name; None: as recorded here.
        """
        before = contents if contents is not None else {need: self.records[need].contents for need in node.needs}
        stage = STAGES[node.stage]
        return {
            "trtconv": __version__,
            "versions": self._packages((*stage.packages, *node.packages)),
            "machine": machine.fingerprint() if stage.measures else "",
            "options": json.loads(json.dumps(dict(node.options), default=str)),
            "inputs": {label: self._input(path) for label, path in node.inputs.items()},
            "upstream": {need: list(before[need]) for need in node.needs},
        }

    def _packages(self, names: tuple[str, ...]) -> dict[str, str]:
        if names not in self._versions:
            self._versions[names] = versions.of(names)
        return self._versions[names]

    def _input(self, path: Path) -> str:
        if digests.is_glob(path):
            return digests.of_value([[str(p), self.digest(p)] for p in sorted(path.parent.glob(path.name))])
        return self.digest(path)

    def why_stale(self, node: Node, key: Mapping[str, Any]) -> str:
        """Why a step must run; empty when its record still holds."""
        record = self.records.get(node.name)
        if record is None:
            return "never ran"
        if changed := difference(record.key, key):
            return changed
        if set(record.outputs) != {str(path) for path in node.files}:
            return "files go elsewhere"
        for path in node.files:
            if not path.exists():
                return f"{path.name} is missing"
            if self.digest(path) != record.outputs.get(str(path)):
                return f"{path.name} was changed by hand"
        return ""

    def keep(self, node: Node, key: Mapping[str, Any], result: Mapping[str, Any], seconds: float, memory: int) -> None:
        """Remember a finished step and save."""
        outputs = {str(path): self.digest(path) for path in node.files}
        contents = [outputs[str(path)] for path in node.outputs]
        self.records[node.name] = Record(
            key=dict(key), outputs=outputs, contents=contents, result=dict(result), seconds=seconds, peak_memory=memory
        )
        self.save()

    def forget(self, names: Iterable[str]) -> None:
        """Drop the records of steps, so that they run again."""
        for name in names:
            self.records.pop(name, None)


_WORDS = {
    "inputs": "input changed",
    "upstream": "changed before it",
    "options": "option changed",
    "versions": "version changed",
    "machine": "another machine or GPU",
    "trtconv": "another trtconv",
}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first part of two keys that differs, in words; empty when they are equal."""
    for part, words in _WORDS.items():
        before, after = old.get(part), new.get(part)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
            return f"{words}: {', '.join(names)}"
        return words
    return ""

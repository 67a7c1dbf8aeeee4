"""What happened: per step, everything that decided its outcome and what came out. Makes "up to date" checkable."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trtconv import __version__
from trtconv.core import digests, versions
from trtconv.core.files import data_of, write_text
from trtconv.pipeline import machine
from trtconv.pipeline.layout import PARTS
from trtconv.pipeline.steps import STAGES, Node

_SCHEMA = 2
_SECOND = 10**9  # in nanoseconds
_SETTLED = 50_000_000  # nanoseconds: the clock of a file system ticks every 4 to 10 ms


@dataclass(frozen=True)
class Record:
    """One finished step.

    Attributes:
        key: everything that decides the outcome, as plain values: versions, options, digests of inputs and of the
            files of the steps before.
        outputs: SHA-256 per file made, by its path from the job's folder.
        contents: SHA-256 of the files that later steps read, in the step's own order: the same wherever they lie.
        result: the stage's result as plain values.
        seconds: wall time it took.
        peak_memory: of its process, in bytes.
        warnings: what it warned of.
    """

    key: Mapping[str, Any]
    outputs: Mapping[str, str]
    contents: Sequence[str]
    result: Mapping[str, Any]
    seconds: float
    peak_memory: int
    warnings: Sequence[str] = ()


@dataclass
class State:
    """The records of a job's output folder, with a memory of digests so that unchanged files are not read again."""

    folder: Path
    records: dict[str, Record] = field(default_factory=dict)
    unsaved: bool = False
    job: str = ""
    _known: dict[str, list[Any]] = field(default_factory=dict)
    _versions: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read the state of a folder; a missing, foreign or older one counts as empty. It may have been moved here."""
        try:
            raw = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return cls(folder)
        if not isinstance(raw, dict) or raw.get("schema") != _SCHEMA:
            return cls(folder)
        records = {name: Record(**record) for name, record in raw["records"].items()}
        state = cls(folder, records, job=raw.get("job", ""), _known=raw["digests"])
        if raw["made_in"] != str(state.made_in):
            state._moved(raw["made_in"])
        return state

    @property
    def made_in(self) -> Path:
        """The folder of all files that the job makes."""
        return self.folder.parent.parent

    def _moved(self, origin: str) -> None:
        """The whole folder came here from another place: results tell of files here."""
        for name, record in self.records.items():
            result = _relocated(record.result, f"{origin}/", f"{self.made_in}/")
            self.records[name] = replace(record, result=result)

    def save(self) -> None:
        """Write the state, atomically."""
        records = {name: vars(record) for name, record in self.records.items()}
        content = {
            "schema": _SCHEMA,
            "made_in": str(self.made_in),
            "job": self.job,
            "records": records,
            "digests": self._known,
        }
        write_text(self.folder / "state.json", json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")
        self.unsaved = False

    def claimed_by(self, job: Path | None) -> list[str]:
        """Take over for a job file; a warning if another one of the same name writes to the same folder."""
        if job is None or (name := self._name(job)) == self.job:
            return []
        other = self.made_in / self.job
        rival = bool(self.job) and other.is_file() and not other.samefile(job)
        self.job, self.unsaved = name, True
        mine = f"{job.name} and {os.path.relpath(other)} write files of the same names to {self.made_in}"
        return [f"{mine}: each replaces what the other makes; give one of them another name:"] if rival else []

    def digest(self, path: Path) -> str:
        """SHA-256 of a file or folder; a file that the system says nobody touched is not read again (see ``mark_of``).

        An ONNX model with its large tensors in a file beside it counts as one with that file.
        """
        if path.is_file():
            data = data_of(path)
            return digests.of_value([self._file(path), self._file(data)]) if data.exists() else self._file(path)
        parts = [f"{file.relative_to(path).as_posix()} {self._file(file)}" for file in self._given(path)]
        return digests.of_value(parts)

    def _given(self, folder: Path) -> list[Path]:
        """The files of a folder that decide what it is.

        Lock files and what the job makes may lie in it too, the facts of engines tell when they were built, and kernels
        come to lie beside an engine when it runs.
        """
        told = ""
        if folder.suffix == PARTS:
            from trtconv.engines.plan import manifest

            told = manifest.PROVENANCE
        inside = self.made_in != folder and self.made_in.is_relative_to(folder)
        return [
            file
            for file in digests.files_under(folder)
            if not file.name.endswith((".lock.yaml", ".engine.json", ".engine.kernels"))
            and file.name != told
            and not (inside and file.is_relative_to(self.made_in))
        ]

    def _file(self, path: Path) -> str:
        path = path.resolve() if path.is_symlink() else path
        mark = mark_of(path)
        known = self._known.get(str(path))
        if known is not None and mark is not None and known[:-1] == mark:
            return str(known[-1])
        digest = digests.of_file(path)
        if mark is not None and mark_of(path) == mark:
            self._known[str(path)] = [*mark, digest]
            self.unsaved = True
        return digest

    def _remember(self, made: Mapping[Path, str]) -> None:
        """Digests of files that this run made: they need not be read again, however young they are.

        Nobody else has written to one whose content is older than its last change, the renaming, by more than the
        clock's steps: who writes sets both times. Others are read when they are looked at.
        """
        for path, digest in made.items():
            found = path.stat() if path.is_file() and not data_of(path).exists() else None
            if found is None or not found.st_ctime_ns % _SECOND:
                continue
            if found.st_ctime_ns - found.st_mtime_ns > _SETTLED:
                self._known[str(path)] = [*_times(found), digest]
                self.unsaved = True

    def linked(self, paths: Iterable[Path]) -> None:
        """Files got a second name, which changes their marks and not their content."""
        for path in paths:
            known = self._known.get(str(path))
            if known is not None and path.is_file() and known[:3] == (now := _times(path.stat()))[:3]:
                self._known[str(path)] = [*now, known[-1]]
                self.unsaved = True

    def kind(self, node: Node) -> str:
        """A digest of what decides a step but for the content of its inputs; of files it has the sizes."""
        sizes = {label: path.stat().st_size for label, path in node.inputs.items() if path.is_file()}
        return digests.of_value({**self.key(replace(node, inputs={})), "stage": node.stage, "sizes": sizes})

    def knows(self, path: Path) -> bool:
        """Whether the digest of a file is known without reading it."""
        path = path.resolve()
        known = self._known.get(str(path))
        return known is not None and known[:-1] == mark_of(path)

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
            "versions": {**self._packages((*stage.packages, *node.packages)), **node.versions},
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
            return digests.of_value([[p.name, self.digest(p)] for p in sorted(path.parent.glob(path.name))])
        return self.digest(path)

    def why_stale(self, node: Node, key: Mapping[str, Any]) -> str:
        """Why a step must run; empty when its record still holds."""
        record = self.records.get(node.name)
        if record is None:
            return "never ran"
        if changed := difference(record.key, key):
            return changed
        if set(record.outputs) != {self._name(path) for path in node.files}:
            return "files go elsewhere"
        for path in node.files:
            if not path.exists():
                return f"{path.name} is missing"
            if self.digest(path) != record.outputs.get(self._name(path)):
                return f"{path.name} was changed by hand"
        return ""

    def keep(
        self,
        node: Node,
        key: Mapping[str, Any],
        result: Mapping[str, Any],
        seconds: float,
        memory: int,
        warnings: Sequence[str] = (),
        known: Mapping[Path, str] = MappingProxyType({}),
    ) -> None:
        """Remember a finished step and save; what it says itself of its files' digests is ``known``."""
        outputs = {self._name(path): known.get(path) or self.digest(path) for path in node.files}
        contents = [outputs[self._name(path)] for path in node.outputs]
        self._remember(known)
        self.records[node.name] = Record(
            key=dict(key),
            outputs=outputs,
            contents=contents,
            result=dict(result),
            seconds=seconds,
            peak_memory=memory,
            warnings=list(warnings),
        )
        self.save()

    def made(self, node: Node) -> dict[Path, str]:
        """SHA-256 of each file that a step made and others read, as recorded: it is not read again."""
        outputs = self.records[node.name].outputs
        return {path: outputs[self._name(path)] for path in node.outputs if self._name(path) in outputs}

    def written(self, node: Node) -> dict[Path, str]:
        """The same of all files that it made, those with facts about others too."""
        return {path: self.records[node.name].outputs[self._name(path)] for path in node.files}

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.made_in)).as_posix()

    def forget(self, names: Iterable[str]) -> None:
        """Drop the records of steps, so that they run again."""
        for name in names:
            self.records.pop(name, None)


def mark_of(path: Path) -> list[int] | None:
    """What changes whenever a file's content does; None where that is in doubt, and only its content tells.

    Nobody can set the time of the last change of an inode (ctime), as ``cp -p`` and ``touch`` set that of its content.
    It says nothing where a file system keeps whole seconds only, or where the last change is so young, by any clock,
    that another one may get the same time.
    """
    found = path.stat()
    changed = found.st_ctime_ns
    if not changed % _SECOND or time.time_ns() - changed < _SETTLED:
        return None
    return _times(found)


def _times(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


def _relocated(value: Any, origin: str, here: str) -> Any:
    if isinstance(value, dict):
        return {name: _relocated(part, origin, here) for name, part in value.items()}
    if isinstance(value, list):
        return [_relocated(part, origin, here) for part in value]
    return value.replace(origin, here) if isinstance(value, str) else value


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

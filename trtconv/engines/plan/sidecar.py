"""The facts of an engine, in ``<engine>.json`` beside it; the plan itself holds nothing but TensorRT's bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core import files
from trtconv.core.errors import SourceError
from trtconv.core.records import PLAIN, Dla, Features, ShapeRange

SCHEMA = 1


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says.

    Attributes:
        path: of the sidecar.
        facts: the whole document.
    """

    path: Path
    facts: Mapping[str, Any]

    @property
    def model(self) -> Path | None:
        """The typed ONNX that the engine was built from, if it is where it was."""
        name = self.facts.get("model", {}).get("file")
        found = Path(os.path.normpath(self.path.parent / name)) if name else None
        return found if found is not None and found.is_file() else None

    @property
    def size(self) -> int:
        """Bytes of the engine that it describes."""
        return int(self.facts["engine"]["size"])

    @property
    def profiles(self) -> tuple[Mapping[str, ShapeRange], ...]:
        """Optimization profiles, by input."""
        return self._ranges("profiles")

    @property
    def values(self) -> tuple[Mapping[str, ShapeRange], ...]:
        """Per profile, ranges of the values of inputs that decide shapes."""
        return self._ranges("values")

    @property
    def features(self) -> Features:
        """What the engine can do; those of trtconv 0.1 have no word on it."""
        told = dict(self.facts.get("features", {}))
        dla = told.pop("dla", None)
        return Features(**told, dla=dla and Dla(**dla))

    def _ranges(self, key: str) -> tuple[Mapping[str, ShapeRange], ...]:
        return tuple(
            {name: ShapeRange(*(tuple(bounds[bound]) for bound in ("min", "opt", "max"))) for name, bounds in p.items()}
            for p in self.facts.get(key, [])
        )


def path_of(engine: Path) -> Path:
    """``model.engine`` has ``model.engine.json``."""
    return engine.with_name(engine.name + ".json")


def write(engine: Path, facts: Mapping[str, Any]) -> Path:
    """Write the sidecar of an engine atomically; the schema number is added."""
    path = path_of(engine)
    files.write_json(path, {"schema": SCHEMA, **facts})
    return path


def read(engine: Path) -> Sidecar | None:
    """The sidecar of an engine, None without one.

    Raises:
        SourceError: it is damaged, or of a newer schema.
    """
    path = path_of(engine)
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
        schema = facts["schema"]
        Sidecar(path, facts).size  # noqa: B018 - the one field that the preflight cannot do without
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(
            f"{path}: not the sidecar of an engine", hint="delete it, or build the engine again"
        ) from None
    if schema > SCHEMA:
        raise SourceError(
            f"{path}: written by a newer trtconv (schema {schema}, this one reads {SCHEMA})",
            hint="pip install --upgrade trtconv",
        )
    return Sidecar(path, facts)


def features(engine: Path) -> Features:
    """What an engine can do, as far as its sidecar says it."""
    known = read(engine)
    return PLAIN if known is None else known.features


def profile_facts(profiles: tuple[Mapping[str, ShapeRange], ...]) -> list[dict[str, Any]]:
    """Profiles as the sidecar holds them."""
    return [
        {n: {"min": list(r.minimum), "opt": list(r.optimum), "max": list(r.maximum)} for n, r in p.items()}
        for p in profiles
    ]

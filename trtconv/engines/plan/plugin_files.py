"""The plugins that an engine needs, as its sidecar names them: are they there, and are they the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trtconv.core import digests
from trtconv.core.errors import EnvironmentProblem, SourceError
from trtconv.core.records import PluginSpec
from trtconv.engines.plan import sidecar


def facts(engine: Path, spec: PluginSpec) -> dict[str, Any]:
    """What the sidecar of an engine holds of one plugin: its file, size and SHA-256."""
    file = spec.file
    assert file is not None, "a plugin is located before it is described"
    kind = {"language": "python", "creator": spec.python} if spec.python else {"language": "compiled"}
    return {
        **kind,
        "file": os.path.relpath(file, engine.parent),
        "path": str(file),
        "sha256": digests.of_file(file),
        "size": file.stat().st_size,
        "embedded": spec.embed,
    }


def problems(engine: Path) -> Iterator[str]:
    """Files that an engine needs beside it and that are missing, or not what they were."""
    for entry in _entries(engine):
        if entry["embedded"]:
            continue
        file = _file(engine, entry)
        if not file.is_file():
            yield f"it needs the plugin {_name(entry)}, and {file} is not there (its SHA-256 is {entry['sha256']})"
        elif digests.of_file(file) != entry["sha256"]:
            yield f"it was built with another plugin {_name(entry)}: {file} has another SHA-256 than {entry['sha256']}"


def needed(engine: Path) -> tuple[PluginSpec, ...]:
    """The plugins to load before an engine."""
    return tuple(
        PluginSpec(
            path=None if "creator" in entry else _file(engine, entry),
            python=entry.get("creator", ""),
            embed=bool(entry["embedded"]),
            file=_file(engine, entry),
        )
        for entry in _entries(engine)
    )


@contextlib.contextmanager
def nobody_else(problem: EnvironmentProblem, *engines: Path) -> Iterator[None]:
    """Where ONNX Runtime cannot stand in for engines for want of their plugins, say why they do not run themselves.

    Raises:
        EnvironmentProblem: the problem.
    """
    try:
        yield
    except SourceError:
        if any(map(_entries, engines)):
            problem.hint = "a GPU that loads the engine runs its plugin; ONNX Runtime has none of it"
            raise problem from None
        raise


def _entries(engine: Path) -> Sequence[Mapping[str, Any]]:
    found = sidecar.read(engine)
    return found.facts.get("plugins", ()) if found else ()


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("creator") or Path(entry["file"]).name)


def _file(engine: Path, entry: Mapping[str, Any]) -> Path:
    """Where it was from the engine's folder; else beside the engine; else where it was on the machine that built it.

    An engine out of the store of builds stands in another folder than when it was built.
    """
    then = Path(os.path.normpath(engine.absolute().parent / entry["file"]))
    places = (then, engine.absolute().parent / then.name, Path(entry["path"]))
    return next((place for place in places if place.is_file()), then)

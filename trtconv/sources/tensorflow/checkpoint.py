"""TensorFlow 1 checkpoints: a graph (.meta) and its variables (.index, .data)."""

from __future__ import annotations

from pathlib import Path

from trtconv.core.errors import SourceError
from trtconv.core.records import SourceSpec
from trtconv.sources.tensorflow import sessions

_ENDINGS = (".meta", ".index", ".data-00000-of-00001")


def open_model(spec: SourceSpec) -> sessions.SessionNetwork:
    """The graph with its variables, ready to run.

    Raises:
        SourceError: files are missing or damaged, or the outputs are open.
    """
    return sessions.open_checkpoint(spec, prefix(spec.path))


def prefix(path: Path) -> Path:
    """The common start of a checkpoint's file names, from any of them or from their folder.

    Raises:
        SourceError: a part is missing.
    """
    start = _newest(path) if path.is_dir() else path
    for ending in _ENDINGS:
        start = start.with_name(start.name.removesuffix(ending))
    if not start.with_name(start.name + ".meta").exists():
        raise SourceError(
            f"{start}: there is no {start.name}.meta, so the variables are there and their graph is not",
            hint="load it in the code that made it and export a SavedModel",
        )
    if not start.with_name(start.name + ".index").exists() or not any(start.parent.glob(f"{start.name}.data-*")):
        raise SourceError(
            f"{start}: a part of the checkpoint is missing: {start.name}.index or {start.name}.data-*",
            hint="copy all its files again",
        )
    return start


def _newest(folder: Path) -> Path:
    """The checkpoint that the folder's own list names as the latest, else the only one."""
    listing = folder / "checkpoint"
    if listing.exists():
        for line in listing.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model_checkpoint_path":
                return folder / Path(value.strip().strip('"')).name
    found = sorted(folder.glob("*.meta")) or sorted(folder.glob("*.index"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SourceError(f"{folder}: which checkpoint is meant is open; it has {names}", hint="name one of them")
    return found[0]

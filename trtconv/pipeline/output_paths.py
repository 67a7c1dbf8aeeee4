"""Where steps write: looked at before the first one runs, and rid of what a killed run left there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trtconv.core import unfinished
from trtconv.core.errors import UsageError
from trtconv.core.names import unicode_path
from trtconv.core.writable import own, require_file, require_folder
from trtconv.pipeline.layout import PARTS, Layout
from trtconv.pipeline.steps import Node


def require(steps: Sequence[Node], layout: Layout, *, writable: bool) -> None:
    """Refuse steps whose files cannot be where they should, or would replace what a step reads.

    Args:
        steps: of a job.
        layout: of its files.
        writable: whether they are about to run.

    Raises:
        UsageError: a folder, a device or the job's own source is there; it names the place.
        EnvironmentProblem: nothing may be written there.
    """
    require_folder(layout.state, writable=writable)
    if not unicode_path(layout.folder):
        raise UsageError(
            f"{layout.folder}: models are not opened from a path that is not UTF-8",
            hint="write to another folder: output: in the job",
        )
    read = {own(path): label for node in steps for label, path in node.inputs.items()}
    folders: dict[Path, Path] = {}  # looked at, without links on the way
    for node in steps:
        for path in node.files:
            if (folder := path.parent) not in folders:
                require_folder(folder, writable=writable)
                folders[folder] = folder.resolve()
            _require_kind(path)
            if (label := read.get(folders[folder] / path.name)) is not None:
                raise UsageError(
                    f"{path} is the {label}, and {node.name} would write its result there",
                    hint="write to another file: -o, or name: or output: in a job",
                )


def _require_kind(path: Path) -> None:
    """A model in parts is a folder and may replace an older one; everything else is a file."""
    if path.suffix != PARTS:
        require_file(path)
        return
    from trtconv.engines.plan import manifest

    if path.exists() and not (path / manifest.NAME).is_file():
        raise UsageError(f"{path} is there, and no model in parts", hint="name another folder")


def sweep(steps: Sequence[Node], layout: Layout) -> None:
    """Remove temporary files of a run that was killed; whoever holds the job's lock knows that nobody writes them.

    Only this job's: others may be writing to the same folder.
    """
    made: dict[Path, list[str]] = {}
    for file in (file for step in steps for file in step.files):
        made.setdefault(file.parent, []).append(f".{file.name}.")
    for folder, starts in (*made.items(), (layout.state, ["."])):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.suffix == ".tmp" and path.name.startswith(tuple(starts)):
                unfinished.remove(path)

"""The folders of a Triton model repository: ``<model>/config.pbtxt``, ``<model>/<version>/<files>``.

A version appears whole and is never changed: other content is another number. What is there already, byte for byte, is
left alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trtconv.core import files, unfinished
from trtconv.core.digests import of_file, of_value
from trtconv.core.errors import UsageError

Content = Path | bytes
"""A file of the repository: one to copy, or its bytes."""

CONFIG = "config.pbtxt"
_MARK = "# Written by trtconv export, which replaces nothing that others wrote: "


@dataclass(frozen=True)
class Model:
    """A model as the repository shall have it.

    Attributes:
        name: of its folder.
        config: text of config.pbtxt.
        version: files of the version, by path inside it.
        beside: files beside config.pbtxt, such as labels.
    """

    name: str
    config: str
    version: Mapping[str, Content]
    beside: Mapping[str, Content]


@dataclass(frozen=True)
class Exported:
    """What became of a model.

    Attributes:
        name: of the model.
        backend: that runs it.
        version: number of its newest version.
        status: ``new``, ``new version``, ``new configuration`` or ``unchanged``.
        size: bytes of that version.
        files: names in it.
    """

    name: str
    backend: str
    version: int
    status: str
    size: int
    files: tuple[str, ...]


def require_own(repository: Path, names: Iterable[str]) -> None:
    """Refuse to replace configurations that somebody else wrote or changed.

    Raises:
        UsageError: with their models.
    """
    others = [name for name in names if not _is_own(repository / name)]
    if others:
        raise UsageError(
            f"{repository}: {', '.join(others)}: there, and {CONFIG} is not as trtconv wrote it",
            hint="choose another name (--name), or say in the export section what was changed, and remove the file",
        )


def _is_own(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return not folder.exists() or not any(folder.iterdir())
    first, _, rest = (folder / CONFIG).read_text(encoding="utf-8", errors="replace").partition("\n")
    return first == _MARK + of_value(rest)


def write(repository: Path, model: Model, backend: str, *, link: bool) -> Exported:
    """Bring one model up to date; hard links instead of copies where ``link`` and the file system allow."""
    folder = repository / model.name
    numbers = sorted(int(path.name) for path in folder.glob("*") if path.is_dir() and path.name.isdigit())
    newest, new = (numbers[-1] if numbers else 0), not folder.exists()
    same = bool(numbers) and _holds(folder / str(newest), model.version)
    beside = {**model.beside, CONFIG: f"{_MARK}{of_value(model.config)}\n{model.config}".encode()}
    configured = not new and all(_is(folder / name, content) for name, content in beside.items())
    if not same:
        newest += 1
        repository.mkdir(parents=True, exist_ok=True)
        _place(folder, newest, model, beside if new else {}, link=link)
    if not new and not configured:  # the configuration last: it may speak of the new version's files
        for name, content in beside.items():
            files.write_bytes(folder / name, content if isinstance(content, bytes) else content.read_bytes())
    status = "new" if new else "new version" if not same else "unchanged" if configured else "new configuration"
    version = folder / str(newest)
    return Exported(
        name=model.name,
        backend=backend,
        version=newest,
        status=status,
        size=sum(path.stat().st_size for path in _files(version)),
        files=tuple(sorted(model.version)),
    )


def _place(folder: Path, number: int, model: Model, beside: Mapping[str, Content], *, link: bool) -> None:
    """Assemble beside the repository, where no server looks, then rename into place; all of a new model at once."""
    whole = bool(beside)
    with unfinished.folder(folder.parent.parent, f".{folder.parent.name}.") as made:
        version = made / "model" / str(number)
        for name, content in model.version.items():
            _put(version / name, content, link=link)
        version.mkdir(parents=True, exist_ok=True)
        for name, content in beside.items():
            _put(made / "model" / name, content, link=False)
        ready, place = (made / "model", folder) if whole else (version, folder / str(number))
        ready.replace(place)


def _put(path: Path, content: Content, *, link: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    if link:
        try:
            os.link(content.resolve(), path)
        except OSError:  # another file system
            shutil.copyfile(content, path)
    else:
        shutil.copyfile(content, path)


def _holds(version: Path, wanted: Mapping[str, Content]) -> bool:
    there = {str(path.relative_to(version)) for path in _files(version)}
    return there == set(wanted) and all(_is(version / name, content) for name, content in wanted.items())


def _is(path: Path, content: Content) -> bool:
    if not path.is_file():
        return False
    if isinstance(content, bytes):
        return path.read_bytes() == content
    if path.samefile(content):
        return True
    return path.stat().st_size == content.stat().st_size and of_file(path) == of_file(content)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())

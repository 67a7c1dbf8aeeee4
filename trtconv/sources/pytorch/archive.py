"""PyTorch's files looked at without PyTorch: nothing is unpickled, nothing that they hold is run."""

from __future__ import annotations

import json
import pickletools
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtconv.core.errors import SourceError

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""First bytes of what torch.save wrote before PyTorch 1.6: a pickle of a magic number."""

_FIRST = {  # a member at the start of an archive whose end is missing
    "torch_export": re.compile(r"^[^/]+/(data/(weights|constants|sample_inputs)/|models/|archive_)"),
    "torchscript": re.compile(r"^[^/]+/(code/|constants\.pkl|data/\d+$)"),
    "torch_pickle": re.compile(r"^[^/]+/data\.pkl"),
}


def kind(path: Path, start: bytes) -> str:
    """The format of a file, a row of ``sources.FORMATS``; empty for what PyTorch did not write.

    Raises:
        SourceError: an archive without its end, or weights without a network.
    """
    if start.startswith(LEGACY):
        return "torch_pickle"
    if is_safetensors(start):
        raise weights_alone(path, "a file of weights (safetensors)")
    if not start.startswith(ZIP):
        return ""
    try:
        names = members(path)
    except zipfile.BadZipFile:
        return _begun(path, start)
    if any(name == "models/model.json" or name == "archive_format" for name in names):
        return "torch_export"
    if "data.pkl" not in names:
        return ""
    if any(name.startswith("code/") for name in names):
        return "torchscript"
    return "torch_pickle"


def _begun(path: Path, start: bytes) -> str:
    """What an archive whose end is missing would have been."""
    length = int.from_bytes(start[26:28], "little")
    first = start[30 : 30 + length].decode("utf-8", "replace")
    for name, pattern in _FIRST.items():
        if pattern.match(first):
            raise SourceError(f"{path}: a {name} archive that is cut off: its end is missing", hint="copy it again")
    return ""


def is_safetensors(start: bytes) -> bool:
    """Whether bytes begin like a safetensors file: the length of a JSON header, and the header."""
    size = int.from_bytes(start[:8], "little")
    return start[8:10] == b'{"' and 8 < size < 1 << 30 and b'"dtype"' in start[:4096]


def weights_alone(path: Path, what: str) -> SourceError:
    """The error for weights without the network that they belong to."""
    return SourceError(
        f"{path}: {what}, without the network that they belong to",
        hint=f"give the function that makes the network: trtconv convert module:function --weights {path} --input "
        "NAME:batch,... --allow-code",
    )


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Members of an archive by their names below its top folder."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename.partition("/")[2] or info.filename: info for info in archive.infolist()}


def read(path: Path, name: str) -> bytes:
    """One member's bytes.

    Raises:
        SourceError: it is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(members(path)[name])
    except KeyError:
        raise SourceError(f"{path}: {name} is missing in it", hint="copy it again") from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise SourceError(f"{path}: {name} in it is damaged ({error})", hint="copy it again") from None


def program(path: Path) -> dict[str, Any]:
    """The JSON document of an exported program.

    Raises:
        SourceError: missing or damaged.
    """
    names = [name for name in members(path) if re.fullmatch(r"models/[^/]+\.json", name)]
    if len(names) != 1:
        raise SourceError(f"{path}: a torch_export archive with {len(names)} programs, not one", hint="export one")
    try:
        found: dict[str, Any] = json.loads(read(path, names[0]))
        return found
    except ValueError as error:
        raise SourceError(f"{path}: {names[0]} in it is damaged ({error})", hint="copy it again") from None


def globals_of(pickle: bytes) -> Counter[str]:
    """Classes and functions that a pickle names, told from its opcodes: it is not loaded.

    Raises:
        ValueError: not a whole pickle.
    """
    found: Counter[str] = Counter()
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name in ("GLOBAL", "INST"):
            found[str(argument).replace(" ", ".")] += 1
        elif operation.name == "STACK_GLOBAL" and len(texts) > 1:
            found[".".join(texts[-2:])] += 1
        elif isinstance(argument, str):
            texts.append(argument)
    return found


_DATA = re.compile(
    r"torch\.(\w+|_utils\._rebuild_\w+|storage\.\w+|nn\.parameter\.\w+|_tensor\.\w+)|collections\.\w+"
    r"|(__builtin__|builtins)\.\w+|numpy\..*|_codecs\.encode|argparse\.Namespace"
)


def code_of(path: Path) -> list[str]:
    """Classes of a pickled network, those that are no plain data; empty for weights alone.

    Raises:
        SourceError: damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(LEGACY))
        names = _legacy_globals(path) if start == LEGACY else globals_of(read(path, "data.pkl"))
    except (ValueError, IndexError) as error:
        raise SourceError(f"{path}: its pickle is damaged ({error})", hint="copy it again") from None
    return [name for name, _ in names.most_common() if not _DATA.fullmatch(name)]


def _legacy_globals(path: Path) -> Counter[str]:
    """The same for a file of five pickles: magic number, version, system, object, storages."""
    with path.open("rb") as file:
        for _ in range(3):
            for _operation in pickletools.genops(file):
                pass
        return globals_of(file.read())


def scripts(path: Path) -> Iterator[tuple[str, str]]:
    """Files of TorchScript code in an archive: name and text."""
    for name in members(path):
        if name.startswith("code/") and name.endswith(".py"):
            yield name, read(path, name).decode("utf-8", "replace")

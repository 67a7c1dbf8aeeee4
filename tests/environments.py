"""Virtual environments for tests: made in a second, from links to what is installed for the test run itself."""

from __future__ import annotations

import re
import venv
from importlib import metadata
from pathlib import Path


def make(folder: Path, *distributions: str) -> Path:
    """An environment with some distributions of this one and all that they require.

    Returns:
        Its interpreter.
    """
    venv.create(folder, symlinks=True)
    (target,) = folder.glob("lib/python*/site-packages")
    for name in sorted(_closure(distributions)):
        files = metadata.distribution(name).files or []
        for part in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            link = target / part
            if not link.exists():
                link.symlink_to(Path(str(metadata.distribution(name).locate_file(part))))
    return folder / "bin" / "python"


def _closure(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            queue += [re.split(r"[^\w.-]", one)[0] for one in required if "extra ==" not in one]
    return found

#!/usr/bin/env python3
"""Print the oldest versions that pyproject.toml takes of what every installation needs and of Pillow, for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

if __name__ == "__main__":
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["images"]]
    print(*[re.sub(r">=([^,]+).*", r"==\1", one) for one in needed])

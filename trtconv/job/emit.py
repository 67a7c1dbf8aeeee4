"""A job's keys to the text of a job file."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trtconv.job.yaml_tree import move_paths


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line, and a dollar sign that is not taken for a variable."""


def _list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    flow = not any(isinstance(value, dict | list) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value.replace("$", "$$"))


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)


def text(job: Mapping[str, Any], folder: Path, remarks: Sequence[str] = ()) -> str:
    """The file's text.

    Args:
        job: keys and values, with paths as they are found from the current folder.
        folder: of the file; relative paths in it start there.
        remarks: comment lines for its head.
    """
    moved = copy.deepcopy(dict(job))
    move_paths(moved, lambda path: os.path.relpath(Path(path).absolute(), folder))
    body = yaml.dump(moved, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return "".join(f"# {line}\n" for remark in remarks for line in remark.splitlines()) + body

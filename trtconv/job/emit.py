"""A job's keys to the text of a job file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trtconv.job.yaml_tree import PATH_KEYS


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
    body = yaml.dump(_moved(job, folder), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return "".join(f"# {line}\n" for remark in remarks for line in remark.splitlines()) + body


def _operators(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Files by operator; ``keep`` is none."""
    return {
        name: file if file == "keep" else os.path.relpath(Path(file).absolute(), folder) for name, file in files.items()
    }


def _moved(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_moved(part, folder) for part in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: os.path.relpath(Path(part).absolute(), folder)
        if key in PATH_KEYS and isinstance(part, str) and (key != "labels" or part.endswith(".npy"))
        else _operators(part, folder)
        if key == "operators"
        else _moved(part, folder)
        for key, part in value.items()
    }

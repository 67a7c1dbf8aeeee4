"""YAML to plain values, remembering where each came from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trtconv.core.errors import JobError
from trtconv.job.section import Loc


class _Loader(yaml.SafeLoader):
    """Safe, and with the floats of YAML 1.2: PyYAML follows 1.1, where ``1e-4`` is text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


@dataclass
class Tree:
    """A job file's content.

    Attributes:
        data: plain values.
        keys: place of each key (or list item), by path.
        values: place of each value, by path.
        problems: (place, text) found while reading: repeated keys.
    """

    data: dict[str, Any]
    keys: dict[Loc, str] = field(default_factory=dict)
    values: dict[Loc, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def place(self, loc: Loc, *, of_key: bool = False) -> str:
        """``file:line:column`` of a path, or of its nearest ancestor that is in the file."""
        table = self.keys if of_key else self.values
        while loc and loc not in table:
            loc = loc[:-1]
        return table.get(loc) or self.values[()]

    def written(self, loc: Loc) -> Loc:
        """A path as the file has it: a single item that stands for a list of one has no index there."""
        kept: Loc = ()
        for part in loc:
            kept = kept if isinstance(part, int) and (*kept, part) not in self.values else (*kept, part)
        return kept


PATH_KEYS = (
    "path",
    "weights",
    "python",
    "output",
    "cache",
    "baseline",
    "labels",
    "timing_cache",
    "check_data",
    "repository",
    "epcontext",
    "lean_runtime",
)
"""Keys whose values start from the folder of the file that they stand in, also when another file extends it."""

EXTENDS = {"type": "string", "description": "another job file, whose keys this one adds to and replaces"}
"""The one key of a file that is no key of the job, as JSON Schema."""

_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def read(path: Path) -> Tree:
    """Parse a job file safely, after the files that it ``extends``.

    Mappings are merged key by key, anything else of the extending file replaces what it extends. ``${NAME}`` and
    ``${NAME:-default}`` stand for environment variables, ``$$`` for a dollar sign.

    Raises:
        JobError: not readable, not YAML, not a mapping, or extending itself; with file, line and column.
    """
    return _extended(path, ())


def chain(path: Path) -> list[Path]:
    """A job file and the files that it extends, in turn; all of them were read before."""
    files = [path]
    while isinstance(named := _read_one(files[-1]).data.get("extends"), str):
        files.append(files[-1].parent / named)
    return files


def _extended(path: Path, children: tuple[Path, ...]) -> Tree:
    tree = _read_one(path)
    named = tree.data.pop("extends", None)
    if named is None:
        return tree
    place = tree.place(("extends",))
    if not isinstance(named, str):
        raise JobError(f"{place}: extends: expected the path of a job file", hint="for example extends: base.yaml")
    base = path.parent / named
    if base.resolve() in (*children, path.resolve()):
        raise JobError(f"{place}: extends: {named} extends this file in turn", hint="break the circle")
    if not base.is_file():
        raise JobError(f"{place}: extends: no such job file: {named}", hint=_neighbours(base))
    below = _extended(base, (*children, path.resolve()))
    _rebase(below.data, Path(named).parent)
    _merge(below, tree, (), below.data, tree.data)
    below.problems += tree.problems
    below.values[()] = tree.values[()]
    return below


def _merge(below: Tree, above: Tree, loc: Loc, old: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        here = (*loc, key)
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            _merge(below, above, here, old[key], value)
            continue
        old[key] = value
        for mine, theirs in ((below.keys, above.keys), (below.values, above.values)):
            for stale in [known for known in mine if known[: len(here)] == here]:
                del mine[stale]
            mine.update({known: place for known, place in theirs.items() if known[: len(here)] == here})


def _rebase(value: Any, folder: Path) -> None:
    """Prefix the relative paths of an extended file with the way to its folder."""
    move_paths(value, lambda text: text if text.startswith(("/", "~")) else str(folder / text))


def move_paths(value: Any, change: Callable[[str], str], *, row: bool = False) -> None:
    """Change every path in a job's keys and values, in place.

    Args:
        value: a part of the job.
        change: from the path as it is to the new one.
        row: whether it belongs to rows of pre- or postprocessing, where ``labels`` is a file and ``output`` is none.
    """
    if isinstance(value, list):
        for item in value:
            move_paths(item, change, row=row)
    if not isinstance(value, dict):
        return
    for key, part in value.items():
        if isinstance(part, str) and _is_path(key, part, row=row):
            value[key] = change(part)
        elif key == "operators" and isinstance(part, dict) and not row:
            files = {name: file for name, file in part.items() if isinstance(file, str) and file != "keep"}
            part.update({name: change(file) for name, file in files.items()})
        else:
            move_paths(part, change, row=row or key in ("preprocess", "postprocess"))


def _is_path(key: str, text: str, *, row: bool) -> bool:
    if row or key not in PATH_KEYS:
        return row and key == "labels"
    if key == "labels":  # else the key of an array
        return text.endswith(".npy")
    return key != "python" or "/" in text  # else a program that the shell would find, or a module


def _read_one(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise JobError(f"no such job file: {path}", hint=_neighbours(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: cannot be read as text: {error}", hint="a job file is YAML, see README.md") from None
    return parse(text, str(path))


_MERGE = "tag:yaml.org,2002:merge"
_DEEPEST = 50
_MOST = 100_000
"""Values of a file, aliases counted as often as they stand: a few lines of aliases of aliases make billions."""


def parse(text: str, label: str) -> Tree:
    """Parse YAML text; ``label`` stands for the file in places. Merge keys (``<<``) are filled in.

    Raises:
        JobError: not YAML, not a mapping, or aliases without end.
    """
    try:
        return _parsed(text, label)
    except RecursionError:
        raise JobError(
            f"{label}: nested too deep, or an alias stands inside its own anchor",
            hint="a job file is YAML, see README.md",
        ) from None


def _parsed(text: str, label: str) -> Tree:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{label}:{mark.line + 1}:{mark.column + 1}" if mark else label
        raise JobError(f"{place}: not valid YAML: {error.problem}", hint=_of_yaml(text, mark)) from None
    except yaml.YAMLError as error:
        raise JobError(f"{label}: not valid YAML: {error}", hint="a job file is YAML, see README.md") from None
    if not isinstance(root, yaml.MappingNode):
        raise JobError(
            f"{label}:1:1: expected a mapping that begins with version: 1",
            hint="see configs/digits.yaml for a job file that works",
        )
    tree = Tree({}, values={(): f"{label}:1:1"})
    tree.data = _plain(root, (), label, tree)
    return tree


def _of_yaml(text: str, mark: Any) -> str:
    """What to do about text that is no YAML: a brace of ``${NAME}`` ends what stands before it inside ``{...}``."""
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    if found := _VARIABLE.search(line):
        return f'inside {{...}} and [...], write variables in quotes: "{found[0]}"'
    return "check indentation, quotes and colons"


def override(tree: Tree, assignment: str) -> None:
    """Apply ``a.b=c``; the value is read as YAML, missing mappings are made.

    Raises:
        JobError: no ``=``, not YAML, or a path through something that is not a mapping.
    """
    path, separator, text = assignment.partition("=")
    label = f"--set {assignment}"
    if not separator or not all(path.split(".")):
        raise JobError(f"{label}: expected KEY.KEY=VALUE", hint="for example --set build.workspace=2GiB")
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise JobError(f"{label}: the value is not valid YAML: {error}", hint="quote the whole argument") from None
    *parents, last = path.split(".")
    here: Any = tree.data
    loc: Loc = ()
    for key in parents:
        loc = (*loc, key)
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise JobError(f"{label}: {'.'.join(map(str, loc))} is not a mapping", hint="name an existing section")
        tree.keys.setdefault(loc, label)
        tree.values.setdefault(loc, label)
    loc = (*loc, last)
    for table in (tree.keys, tree.values):
        for stale in [known for known in table if known[: len(loc)] == loc]:
            del table[stale]
    marked = Tree({}, keys=tree.keys, values=tree.values)
    here[last] = None if node is None else _plain(node, loc, label, marked)
    for table in (tree.keys, tree.values):  # a command line has no lines: every part is placed at the option
        table.update({known: label for known in [loc, *table] if known[: len(loc)] == loc})


def add(tree: Tree, key: str, item: dict[str, Any], label: str) -> None:
    """Append to a list of the job; what is no list is left to the validation."""
    items = tree.data.setdefault(key, [])
    if not isinstance(items, list):
        return
    loc = (key, len(items))
    items.append(item)
    tree.values.setdefault((key,), label)
    for place in (loc, *((*loc, name) for name in item)):
        tree.keys[place] = tree.values[place] = label


def _plain(node: yaml.Node, loc: Loc, label: str, tree: Tree) -> Any:
    if len(loc) > _DEEPEST or len(tree.values) > _MOST:
        raise JobError(
            f"{_place(node, label)}: aliases make this file endless", hint="write out what the alias (*name) stands for"
        )
    tree.values[loc] = _place(node, label)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, loc, label, tree)
    if isinstance(node, yaml.SequenceNode):
        return [_item(item, (*loc, index), label, tree) for index, item in enumerate(node.value)]
    return _scalar(node, label, tree)


def _item(node: yaml.Node, loc: Loc, label: str, tree: Tree) -> Any:
    tree.keys[loc] = _place(node, label)
    return _plain(node, loc, label, tree)


def _mapping(node: yaml.MappingNode, loc: Loc, label: str, tree: Tree) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in _pairs(node, label, tree):
        key = key_node.value
        if key in result:
            tree.problems.append((_place(key_node, label), f"key {key!r} is given twice"))
        tree.keys[(*loc, key)] = _place(key_node, label)
        result[key] = _plain(value_node, (*loc, key), label, tree)
    return result


def _pairs(node: yaml.MappingNode, label: str, tree: Tree) -> list[tuple[Any, yaml.Node]]:
    """Keys and values of a mapping, then those of the mappings under ``<<`` that it does not have itself."""
    own, known = [], set()
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            tree.problems.append((_place(key_node, label), "a key must be a word"))
        elif key_node.tag != _MERGE:
            own.append((key_node, value_node))
            known.add(key_node.value)
    for key_node, value_node in _merged(node, label, tree):
        if key_node.value not in known:
            own.append((key_node, value_node))
            known.add(key_node.value)
    return own


def _merged(node: yaml.MappingNode, label: str, tree: Tree) -> Iterator[tuple[Any, yaml.Node]]:
    """Keys and values of the mappings under ``<<``, the nearest first."""
    for part in [value for key_node, value in node.value if key_node.tag == _MERGE]:
        for mapping in part.value if isinstance(part, yaml.SequenceNode) else [part]:
            if isinstance(mapping, yaml.MappingNode):
                yield from _pairs(mapping, label, tree)
            else:
                tree.problems.append((_place(mapping, label), "<<: expected a mapping, or a list of them"))


def _scalar(node: yaml.Node, label: str, tree: Tree) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(_expanded(node, loader))
    except (yaml.YAMLError, ValueError) as error:
        tree.problems.append((_place(node, label), _not_plain(error)))
        return None
    finally:
        loader.dispose()


def _not_plain(error: Exception) -> str:
    return f"not a plain value: {error.problem}" if isinstance(error, yaml.MarkedYAMLError) else str(error)


def _expanded(node: yaml.Node, loader: _Loader) -> yaml.Node:
    """A scalar with its environment variables filled in; an unquoted one gets the type of what came out."""
    if not isinstance(node, yaml.ScalarNode) or "$" not in node.value:
        return node
    text = _VARIABLE.sub(_variable, node.value)
    tag = node.tag if node.style else loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return yaml.ScalarNode(tag, text, node.start_mark, node.end_mark, node.style)


def _variable(match: re.Match[str]) -> str:
    if match[0] == "$$":
        return "$"
    value = os.environ.get(match[1]) or match[2]
    if value is None:
        raise ValueError(
            f"the environment variable {match[1]} is not set; write ${{{match[1]}:-default}} for a default"
        )
    return value


def _place(node: yaml.Node, label: str) -> str:
    return f"{label}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _neighbours(path: Path) -> str:
    from trtconv.core.names import path_meant

    return path_meant(path, files="*.y*ml") or "give the path of a job file, such as configs/digits.yaml"

"""What the text of a script says of its network, without running it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.core.records import Dim, TensorInfo
from trtconv.sources.network import batch, calling, methods
from trtconv.sources.records import Description, Tensors

_TYPES = {
    "float32": "float",
    "FLOAT": "float",
    "float16": "float16",
    "HALF": "float16",
    "int32": "int32",
    "INT32": "int32",
}
_BUILDS = ("build_engine", "build_cuda_engine", "build_serialized_network", "build_engine_with_config")


def tree_of(path: Path) -> ast.Module:
    """The script's syntax tree.

    Raises:
        SourceError: it is not Python, or Python 2.
    """
    content = path.read_bytes()
    if b"\0" in content:
        what = magic.describe(path)
        raise SourceError(f"{path}: no script for TensorRT's network API; it looks like {what}", hint="give a .py file")
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise SourceError(
            f"{path}{line}: no Python 3, which a script for TensorRT's network API is: {error.args[0]}",
            hint="is the file whole? 2to3 brings a script for Python 2 to Python 3",
        ) from None


def describe(path: Path) -> Description:
    """Calls that add layers, inputs that are written out, what refuses; loops and helpers are not followed."""
    tree = tree_of(path)
    values = dict(_constants(tree))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    names = Counter(call.func.attr for call in calls)  # type: ignore[attr-defined]
    layers = Counter({name: count for name, count in names.items() if name in methods.METHODS})
    refused = sorted(name for name in names if name in methods.REFUSED)
    inputs = [info for call in calls if (info := _input(call, values)) is not None]
    implicit = _implicit(tree, names, inputs)
    if implicit:
        inputs = [TensorInfo(info.name, info.dtype, ("batch", *info.shape) if info.shape else ()) for info in inputs]
    facts: dict[str, Any] = {
        "runs_code": True,
        "implicit_batch": implicit,
        "builds": sorted(name for name in names if name in _BUILDS),
        "refused": refused,
        "function": calling.function_of(path),
        "weights": _files(path, tree),
    }
    said = f"; {', '.join(refused)} will be refused" if refused else ""
    title = f"script for TensorRT's network API, read but not run{said}"
    return Description(title, layers, facts, [Tensors(inputs, ())], counted="calls")


def _implicit(tree: ast.Module, names: Counter[str], inputs: list[TensorInfo]) -> bool:
    """As ``batch.decide`` sees it, from the text."""
    words = _attributes(tree)
    if words & {"EXPLICIT_BATCH", "STRONGLY_TYPED", "add_optimization_profile"}:
        return False
    if any(dim == "?" for info in inputs for dim in info.shape):
        return False
    if "max_batch_size" in words or "set_max_batch_size" in words or names["add_fully_connected"]:
        return True
    return bool(inputs) and max(len(info.shape) for info in inputs) <= batch.IMAGE


def _attributes(tree: ast.Module) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Names, also ``Class.name``, that are given a literal value."""
    for prefix, body in [("", tree.body), *((f"{n.name}.", n.body) for n in tree.body if isinstance(n, ast.ClassDef))]:
        for node in body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield f"{prefix}{target.id}", node.value


def _input(call: ast.Call, values: dict[str, Any]) -> TensorInfo | None:
    """The input that an ``add_input`` call makes, as far as its arguments are written out."""
    if call.func.attr != "add_input":  # type: ignore[attr-defined]
        return None
    given = dict(zip(("name", "dtype", "shape"), call.args, strict=False))
    given |= {word.arg: word.value for word in call.keywords if word.arg is not None}
    name, shape = _literal(given.get("name"), values), _literal(given.get("shape"), values)
    kind = values.get(ast.unparse(given["dtype"]), given["dtype"]) if "dtype" in given else None
    dtype = _TYPES.get(ast.unparse(kind).rpartition(".")[2], "") if kind is not None else ""
    dims: tuple[Dim, ...] = ()
    if isinstance(shape, (list, tuple)):
        dims = tuple(size if isinstance(size, int) and size >= 0 else "?" for size in shape)
    return TensorInfo(name if isinstance(name, str) else "?", dtype, dims)


def _literal(node: Any, values: dict[str, Any]) -> Any:
    """The value of an expression of literals and names of literals; None where it is more than that."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(part, values) for part in node.elts]
    if isinstance(node, (ast.Name, ast.Attribute)):
        known = values.get(ast.unparse(node))
        return None if known is None or known is node else _literal(known, values)
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _files(path: Path, tree: ast.Module) -> list[str]:
    """Files that the script names and that are there, from its own folder."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted(text for text in texts if _names_a_file(text) and (path.parent / text).is_file())


def _names_a_file(text: str) -> bool:
    return 0 < len(text) < 200 and "." in text and "\n" not in text and "\0" not in text


def beside(path: Path) -> list[Path]:
    """Modules that the script imports from its own folder, and files that it names there."""
    try:
        tree = tree_of(path)
    except SourceError:
        return []
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    own = [path.parent / Path(*name.split(".")).with_suffix(".py") for name in sorted(modules)]
    return [file for file in [*own, *(path.parent / name for name in _files(path, tree))] if file != path]

"""What PyTorch's files hold, told from their own documents: JSON, TorchScript's text, opcodes of pickles."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trtconv.core.errors import SourceError
from trtconv.core.names import choice
from trtconv.core.records import TensorInfo
from trtconv.core.units import format_bytes
from trtconv.sources.pytorch import archive, formats
from trtconv.sources.records import Description, Tensors

_TYPES = (
    "",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float",
    "double",
    "complex32",
    "complex64",
    "complex128",
    "bool",
    "bfloat16",
)
"""Numbers of types in an exported program (torch/_export/serde/schema.py, ScalarType)."""


def program(path: Path) -> Description:
    """An exported program: inputs and outputs by the names of its function, operators, the PyTorch that wrote it.

    Raises:
        SourceError: damaged.
    """
    document = archive.program(path)
    try:
        graph = document["graph_module"]
        values, signature = graph["graph"]["tensor_values"], graph["signature"]
        counts = Counter(_operator(node["target"]) for node in graph["graph"]["nodes"])
        symbols: dict[str, str] = {}
        inputs = [_tensor(name, values[name], symbols) for name in _names(signature["input_specs"], "user_input")]
        outputs = _outputs(graph, values, symbols)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise SourceError(
            f"{path}: a torch_export document of another form ({error!r})", hint="export it again"
        ) from None
    version = str(document.get("torch_version", "")) or "an unknown version"
    facts = {"torch": version, "schema": document.get("schema_version"), "weights": _bytes(path, "data/weights/")}
    return Description(f"program exported by PyTorch {version}", counts, facts, [Tensors(inputs, outputs)])


def _operator(target: str) -> str:
    """``torch.ops.aten.conv2d.default`` is aten.conv2d."""
    return re.sub(r"^torch\.ops\.|\.default$", "", target)


def _names(specs: Sequence[Mapping[str, Any]], role: str) -> Iterator[str]:
    for spec in specs:
        if role in spec and "as_tensor" in spec[role]["arg"]:
            yield spec[role]["arg"]["as_tensor"]["name"]


def _tensor(name: str, meta: Mapping[str, Any], symbols: dict[str, str]) -> TensorInfo:
    kind = _TYPES[meta["dtype"]] if meta["dtype"] < len(_TYPES) else "?"
    dims: list[int | str] = []
    for axis, size in enumerate(meta["sizes"]):
        if "as_int" in size:
            dims.append(size["as_int"])
        else:
            text = size["as_expr"]["expr_str"]
            dims.append(symbols.setdefault(text, "batch" if not axis and not symbols else f"{name}_{axis}"))
    return TensorInfo(name, kind, tuple(dims))


def _outputs(graph: Mapping[str, Any], values: Mapping[str, Any], symbols: dict[str, str]) -> list[TensorInfo]:
    made = list(_names(graph["signature"]["output_specs"], "user_output"))
    spec = json.loads(graph["module_call_graph"][0]["signature"]["out_spec"])[1]
    paths = [path or ["output"] for path in _leaves(spec, [])]
    names = ["_".join(p if not p[0].isdigit() else ["output", *p]) for p in paths]
    named = names if len(names) == len(made) else made
    return [
        _tensor(name, values[value], symbols).__class__(name, *_rest(values[value], name, symbols))
        for name, value in zip(named, made, strict=True)
    ]


def _rest(meta: Mapping[str, Any], name: str, symbols: dict[str, str]) -> tuple[str, tuple[int | str, ...]]:
    info = _tensor(name, meta, symbols)
    return info.dtype, info.shape


def _leaves(spec: Mapping[str, Any], path: list[str]) -> Iterator[list[str]]:
    """Ways to the leaves of what a program returns."""
    if spec["type"] is None:
        yield path
        return
    keys = json.loads(spec["context"]) if "dict" in spec["type"].lower() else None
    for place, child in enumerate(spec["children_spec"]):
        key = keys[place] if isinstance(keys, list) and place < len(keys) else place
        yield from _leaves(child, [*path, str(key)])


def _bytes(path: Path, start: str) -> int:
    return sum(info.file_size for name, info in archive.members(path).items() if name.startswith(start))


_CALL = re.compile(r"\b(?:torch|ops\.\w+)\.(\w+)\(")
_FORWARD = re.compile(r"def forward\(\w+: [\w.]+(?:,\s*(.*?))?\) -> (.*?):\n", re.DOTALL)
_ARGUMENT = re.compile(r"(\w+): (\w+(?:\[[^\]]*\])*)")


def script(path: Path) -> Description:
    """A TorchScript archive: arguments of its function, functions that its code calls; shapes are not in it.

    Raises:
        SourceError: damaged.
    """
    counts: Counter[str] = Counter()
    texts = dict(archive.scripts(path))
    for text in texts.values():
        counts.update(_CALL.findall(text))
    top = next(iter(archive.globals_of(archive.read(path, "data.pkl"))), "")
    module, _, name = top.rpartition(".")
    text = texts.get(f"code/{module.replace('.', '/')}.py", "")
    begin = re.search(rf"^class {re.escape(name)}\(", text, re.MULTILINE)
    forward = _FORWARD.search(text, begin.start() if begin else 0)
    arguments = _ARGUMENT.findall(forward[1] or "") if forward else []
    inputs = [TensorInfo(argument, "", ()) for argument, kind in arguments if "Tensor" in kind]
    facts = {
        "class": top.removeprefix("__torch__."),
        "weights": _bytes(path, "data/"),
        "returns": forward and forward[2],
    }
    title = f"TorchScript of {facts['class'] or 'a network'}"
    return Description(title, counts, facts, [Tensors(inputs, ())], counted="calls")


def checkpoint(path: Path) -> Description:
    """A pickle: weights alone, or a network whose classes are named; nothing is loaded.

    Raises:
        SourceError: damaged.
    """
    classes = archive.code_of(path)
    what = "pickled network" if classes else "weights without a network"
    names = Counter(dict.fromkeys(classes, 1))
    return Description(f"{what}, by torch.save", names, {"classes": classes}, counted="classes")


def function(path: Path) -> Description:
    """A function of a Python file, which is parsed and not run.

    Raises:
        SourceError: the file has no such function, or is no Python.
    """
    files = formats.code(path)
    module, _, name = path.name.rpartition(":")
    if not files:
        return Description(
            f"function {name} of the module {module}, which is not here", Counter(), counted="definitions"
        )
    try:
        tree = ast.parse(files[0].read_bytes())
    except (SyntaxError, ValueError) as error:
        raise SourceError(f"{files[0]}: not Python: {error}", hint="correct it") from None
    defined = {node.name: _KINDS[type(node)] for node in tree.body if type(node) in _KINDS}  # type: ignore[attr-defined]
    known = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    known |= {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    first = name.partition(".")[0]
    if first not in {*defined, *known} and "*" not in known:
        raise SourceError(
            f"{files[0]}: defines no {first!r}; it has {', '.join([*defined, *sorted(known)]) or 'nothing'}",
            hint=choice(first, [*defined, *sorted(known)]),
        )
    size = sum(file.stat().st_size for file in files)
    facts = {"function": name, "files": [str(file) for file in files], "code": size}
    title = f"{name} of {files[0].name}, which makes a PyTorch network, {format_bytes(size)} of code"
    return Description(title, Counter(defined.values()), facts, counted="definitions")


_KINDS = {ast.ClassDef: "class", ast.FunctionDef: "function", ast.AsyncFunctionDef: "function"}

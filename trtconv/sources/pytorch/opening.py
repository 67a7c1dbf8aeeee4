"""The networks that ``exporter`` opens, by form: loaded, in evaluation mode, on the CPU, in FP32."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_TYPES = {
    "float32": "float",
    "float64": "float",
    "float16": "float",
    "bfloat16": "float",
    "int64": "int64",
    "int32": "int32",
    "int16": "int16",
    "int8": "int8",
    "uint8": "uint8",
    "bool": "bool",
}
"""PyTorch's types of inputs -> ONNX's; what is real is FP32."""


class Found:
    """A network.

    Attributes:
        module: an nn.Module.
        call: (module, tensors in the order of inputs) -> whatever the network returns.
        inputs: name, dtype (ONNX), shape (sizes and names), and sizes to try it with, if they are known.
        program: its ExportedProgram, where that can become ONNX as it is.
        scripted: whether it is TorchScript.
    """

    def __init__(
        self,
        module: Any,
        call: Callable[[Any, Sequence[Any]], Any],
        inputs: list[dict[str, Any]],
        program: Any = None,
        scripted: bool = False,
    ) -> None:
        self.module, self.call, self.inputs = module, call, inputs
        self.program, self.scripted = program, scripted


def line(error: BaseException) -> str:
    """An error's first words, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.split(r" (?:For more information|consider using|The following call|User code traceback)", text)[0]
    return text if len(text) < 300 else f"{text[:300]} ..."


def where(text: str) -> str:
    """The last line of code in a report that is not PyTorch's own, in brackets; empty without one."""
    places = re.findall(r'File "([^"]+)", line (\d+)', text)
    own = [f" ({file}, line {number})" for file, number in places if "/torch/" not in file]
    return own[-1] if own else ""


def find(request: Mapping[str, Any], host: Any) -> Found:
    """The network that a request of ``exporter.describe`` names."""
    torch = host.load("torch")
    forms = {"export": _program, "script": _script, "module": _made, "pickle": _pickle}
    return forms[request["form"]](torch, request, host)


def _program(torch: Any, request: Mapping[str, Any], host: Any) -> Found:
    path = request["path"]
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise host.refusal(
            "SourceError",
            f"{path}: PyTorch {torch.__version__} does not load this exported program: {line(error)}",
            "export it again with this version of PyTorch, or name an interpreter with the one that wrote it "
            "(source.python)",
        ) from error
    inputs, fixed = _placeholders(torch, program, request["inputs"], host)
    module = program.module(check_guards=False)
    half = _to_float(torch, module, host)
    count = len(program.graph_signature.user_outputs)
    plain = all(isinstance(name, str) for name in (*program.graph_signature.user_outputs, *_leaves(program)))
    in_spec = program.call_spec.in_spec

    def call(inner: Any, flat: Sequence[Any]) -> Any:
        given = iter(flat)
        leaves = [next(given) if isinstance(leaf, str) else leaf for leaf in _leaves(program)]
        args, kwargs = torch.utils._pytree.tree_unflatten(leaves, in_spec)
        return inner(*args, **kwargs)

    as_it_is = plain and count and not half and not fixed
    return Found(module, call, inputs, program if as_it_is else None)


def _leaves(program: Any) -> list[Any]:
    """Names of the inputs, and values of those that are constants."""
    return list(program.graph_signature.user_inputs)


def _placeholders(
    torch: Any, program: Any, asked: Sequence[Mapping[str, Any]], host: Any
) -> tuple[list[dict[str, Any]], bool]:
    """The inputs of a program as the job wants them; whether it was exported with sizes that now shall vary."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    wanted = {one["name"]: one["shape"] for one in asked if one["shape"]}
    symbols: dict[str, str] = {}
    inputs, fixed = [], False
    names = [leaf for leaf in _leaves(program) if isinstance(leaf, str)]
    _require_known(wanted, names, host)
    for name in names:
        own = list(values[name].shape)
        shape: list[Any] = []
        for axis, size in enumerate(own):
            if isinstance(size, torch.SymInt):
                symbol = str(size)
                shape.append(symbols.setdefault(symbol, "batch" if not axis and not symbols else f"{name}_{axis}"))
            else:
                shape.append(size)
        target = wanted.get(name, shape)
        if len(target) != len(shape):
            raise host.refusal(
                "UsageError",
                f"inputs.{name}.shape: {target} has {len(target)} dimensions, the program's input has {len(shape)}",
                "give the full shape, batch included",
            )
        fixed |= any(isinstance(size, int) and dim != size for size, dim in zip(shape, target, strict=True))
        tries = [_hint(size) for size in own]
        tries = [dim if isinstance(dim, int) and dim > 0 else size for dim, size in zip(target, tries, strict=True)]
        dtype = _type(values[name].dtype, name, host)
        inputs.append({"name": name, "dtype": dtype, "shape": list(target), "tries": tries})
    return inputs, fixed


def _hint(size: Any) -> int:
    """The size that a program was exported with."""
    return int(size) if isinstance(size, int) else int(size.node.hint or 2)


def _type(dtype: Any, name: str, host: Any) -> str:
    known = str(dtype).removeprefix("torch.")
    if known not in _TYPES:
        raise host.refusal("ConversionError", f"input {name!r} has type {known}, which trtconv does not feed")
    return _TYPES[known]


def _script(torch: Any, request: Mapping[str, Any], host: Any) -> Found:
    try:
        module = torch.jit.load(request["path"], map_location="cpu").eval()
    except Exception as error:
        raise host.refusal(
            "SourceError",
            f"{request['path']}: PyTorch {torch.__version__} does not load this TorchScript: {line(error)}",
            "copy it again, or save it again with torch.jit.save",
        ) from error
    _to_float(torch, module, host)
    arguments = module.forward.schema.arguments[1:]  # the first is the module
    known = {re_name(one.name): not one.has_default_value() for one in arguments}
    inputs = _inputs(known, request["inputs"], host)
    original = {re_name(one.name): one.name for one in arguments}

    def call(inner: Any, flat: Sequence[Any]) -> Any:
        named = zip((original[one["name"]] for one in inputs), flat, strict=True)
        return inner(**dict(named))

    return Found(module, call, inputs, scripted=True)


def re_name(name: str) -> str:
    """An argument's name as it was before TorchScript made it unique: ``image.1`` is image."""
    return name.partition(".")[0]


def _made(torch: Any, request: Mapping[str, Any], host: Any) -> Found:
    path = request["path"]
    module = _called(path, _target(path, host), host)
    if not isinstance(module, torch.nn.Module):
        raise host.refusal(
            "SourceError",
            f"{path} gives {type(module).__name__}, not a torch.nn.Module",
            "name a function without arguments that returns the network",
        )
    if request["weights"]:
        host.beside("weights").load(torch, module, request["weights"], host)
    return _ready(torch, module, request, host)


def _pickle(torch: Any, request: Mapping[str, Any], host: Any) -> Found:
    sys.path[:0] = [str(Path(request["path"]).parent), str(Path.cwd())]
    try:
        module = torch.load(request["path"], map_location="cpu", weights_only=False)
    except Exception as error:
        traceback.print_exc()
        raise host.refusal(
            "SourceError",
            f"{request['path']}: cannot be unpickled: {line(error)}",
            "its classes must be importable (from the current folder, or PYTHONPATH); safer: save model.state_dict(), "
            "and give module:function with --weights",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise host.refusal(
            "SourceError",
            f"{request['path']}: holds a {type(module).__name__}, not a network",
            "weights need a network: trtconv convert module:function --weights FILE --allow-code",
        )
    return _ready(torch, module, request, host)


def _ready(torch: Any, module: Any, request: Mapping[str, Any], host: Any) -> Found:
    """A module of Python code, with the inputs that the job gives for its arguments."""
    module = module.cpu().eval()
    _to_float(torch, module, host)
    parameters = list(inspect.signature(module.forward).parameters.values())
    single = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    known = {one.name: one.default is one.empty for one in single}
    if len(single) < len(parameters):  # *args, **kwargs: whatever the job names
        known |= {one["name"]: True for one in request["inputs"] if one["name"] not in known}
    inputs = _inputs(known, request["inputs"], host)
    keywords = {one.name for one in single if one.kind is not one.POSITIONAL_ONLY}
    keywords |= {name for name in known if parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD}

    def call(inner: Any, flat: Sequence[Any]) -> Any:
        given = dict(zip((one["name"] for one in inputs), flat, strict=True))
        named = {name: tensor for name, tensor in given.items() if name in keywords}
        return inner(*(tensor for name, tensor in given.items() if name not in keywords), **named)

    return Found(module, call, inputs)


def _inputs(known: Mapping[str, bool], asked: Sequence[Mapping[str, Any]], host: Any) -> list[dict[str, Any]]:
    """What the job gives for the arguments of a network, in their order.

    Args:
        known: argument -> whether it must be given.
        asked: name, shape and dtype.
        host: for refusals.
    """
    given = {one["name"]: one for one in asked}
    _require_known(given, list(known), host)
    open_ones = [n for n, required in known.items() if (required or n in given) and not given.get(n, {}).get("shape")]
    if open_ones:
        example = ", ".join(f"{name}: {{shape: [batch, ...]}}" for name in open_ones)
        raise host.refusal(
            "UsageError",
            f"the shape of {', '.join(map(repr, open_ones))} is not known: the network's code does not say it",
            f"inputs: {{{example}}} in a job, --input {open_ones[0]}:batch,... on the command line; whole numbers need "
            "dtype: int64 (--input NAME:SHAPE:int64)",
        )
    return [
        {"name": name, "dtype": _TYPES[given[name]["dtype"] or "float32"], "shape": list(given[name]["shape"])}
        for name in known
        if name in given
    ]


def _require_known(given: Mapping[str, Any], known: Sequence[str], host: Any) -> None:
    if unknown := [name for name in given if name not in known]:
        raise host.refusal(
            "UsageError",
            f"inputs: the network has no input {unknown[0]!r}; it has {', '.join(known) or 'none'}",
            "name its arguments as its code does",
        )


def _target(path: str, host: Any) -> Any:
    """``module:function`` or ``file.py:function``: from the folder it is named in, the current one, or PYTHONPATH."""
    folder, target = os.path.split(path)
    name, _, attribute = target.rpartition(":")
    sys.path[:0] = [folder, str(Path.cwd())]
    file = Path(folder, name)
    try:
        if file.suffix == ".py":
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(name)
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in (name, name.partition(".")[0]):
            raise host.refusal(
                "EnvironmentProblem",
                f"{path} imports {error.name}, which {sys.executable} does not have",
                f"{sys.executable} -m pip install {str(error.name).partition('.')[0]}, or put its folder on PYTHONPATH",
            ) from error
        traceback.print_exc()
        why = f"{type(error).__name__}: {line(error)}"
        raise host.refusal(
            "SourceError",
            f"{path}: this function that makes a PyTorch network cannot be imported: {why}",
            "modules are looked for in the job's folder, the current one and PYTHONPATH",
        ) from error
    return found


def _called(path: str, made: Any, host: Any) -> Any:
    """What a function returns; a module that is there already stands for itself."""
    if not callable(made) or (hasattr(made, "state_dict") and not isinstance(made, type)):
        return made
    try:
        return made()
    except Exception as error:
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise host.refusal(
            "SourceError",
            f"{path} raised {type(error).__name__}: {line(error)} ({place.filename}, line {place.lineno})",
            "it is called without arguments; try it on its own",
        ) from error


def _to_float(torch: Any, module: Any, host: Any) -> bool:
    """Bring real weights of other types to FP32; whether there were any."""
    held = [*module.parameters(), *module.buffers()]
    kinds = {str(one.dtype).removeprefix("torch.") for one in held if one.is_floating_point()} - {"float32"}
    if kinds:
        host.message(
            f"weights of type {', '.join(sorted(kinds))} are taken as float32; precision: says what the engine has"
        )
        module.float()
    return bool(kinds)

"""PyTorch's side, run in an interpreter that has torch: opens a network, exports it to ONNX, runs it as the reference.

A small module of ``core.interpreter``: standard library, torch, numpy and what torch's exporter needs. Requests come
from ``convert`` of this wing; ``describe`` and ``run`` are those of ``sources.guest_wing``.
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_SIZES = (96, 128, 160), (224, 256, 192), (7, 9, 11), (16, 16, 16)
"""Sizes to try for dimensions that vary, but for the first: not every network takes small or odd ones."""

_BATCH = 3
"""Like the first sizes, not what the check of the conversion takes: what does not vary, although it should, shows."""

_LARGE = 1_800_000_000  # bytes of weights from which an ONNX file needs another one beside it

_open: dict[str, Any] = {}
"""The network that is open: ``found``, ``network`` (which takes and gives plain tensors), ``examples``, ``outputs``."""


def export(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Write a network as ONNX; it stays open.

    Args:
        request: that of ``describe``, and ``opset`` and ``model``, the file to write.
        host: whoever asked.

    Returns:
        ``inputs``: name, dtype and shape of each; ``random``: the first operator that draws random numbers, or empty.
    """
    torch = host.load("torch")
    host.load("onnxscript")
    _opened(request, host)
    with quiet(), torch.no_grad():
        random = _written(torch, request, host)
    return {"inputs": _inputs(), "random": random}


def describe(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Inputs, outputs and framework of the network that is open, or of the one that is named.

    Args:
        request: ``form`` (export, script, module or pickle), ``path``, ``weights`` and ``inputs`` (name, shape and
            dtype that the job gives); empty for the one that is open.
        host: whoever asked.
    """
    torch = host.load("torch")
    if request:
        _opened(request, host)
    outputs = [{"name": name, "dtype": "", "shape": []} for name in _open["outputs"]]
    return {"inputs": _inputs(), "outputs": outputs, "framework": f"PyTorch {torch.__version__}"}


def run(request: dict[str, Any], host: Any) -> list[str]:
    """One batch, as ``sources.guest_wing.run`` has it."""
    import numpy as np

    torch = host.load("torch")
    with np.load(request["feeds"]) as stored:
        feeds = {name: stored[f"a{number}"] for number, name in enumerate(request["names"])}
    given = [torch.from_numpy(np.ascontiguousarray(feeds[one["name"]])) for one in _open["found"].inputs]
    try:
        with quiet(), torch.no_grad():
            made = _open["network"](*given)
    except Exception as error:
        raise host.refusal("SourceError", f"PyTorch does not run it: {host.beside('opening').line(error)}") from error
    np.savez(request["outputs"], **{f"a{number}": array(tensor) for number, tensor in enumerate(made)})
    return list(_open["outputs"])


def opened(request: dict[str, Any], host: Any) -> tuple[Any, list[str], list[str], bool]:
    """A network as a function of tensors to a tuple of tensors, names of its inputs and outputs; is it TorchScript?"""
    _opened(request, host)
    found = _open["found"]
    return _open["network"], [one["name"] for one in found.inputs], _open["outputs"], found.scripted


def array(tensor: Any) -> Any:
    """A tensor as NumPy has it: types that it lacks as float32."""
    plain = tensor.detach().cpu().contiguous()
    return (plain.float() if plain.is_floating_point() else plain).numpy()


def _inputs() -> list[dict[str, Any]]:
    return [{name: one[name] for name in ("name", "dtype", "shape")} for one in _open["found"].inputs]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what PyTorch tells its developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _opened(request: dict[str, Any], host: Any) -> None:
    """Open a network and run it once on made-up inputs, which tells the names of its outputs."""
    torch, opening = host.load("torch"), host.beside("opening")
    with quiet(), torch.no_grad():
        found = opening.find(request, host)
        examples, made = _tried(torch, found, host, opening)
        outputs, kept = _named(torch, made, {one["name"] for one in found.inputs}, host)
        network = _flat(torch, found, kept)
    _open.clear()
    _open.update(found=found, network=network, examples=examples, outputs=outputs)


def _tried(torch: Any, found: Any, host: Any, opening: Any) -> tuple[list[Any], Any]:
    """Example inputs that the network takes, and what it makes of them."""
    first: Exception | None = None
    for sizes in _SIZES:
        examples = [_example(torch, one, sizes) for one in found.inputs]
        try:
            return examples, found.call(found.module, examples)
        except Exception as error:  # noqa: BLE001 - the user's own code, and sizes that it may not take
            first = first or error
    assert first is not None
    traceback.print_exception(first)
    shapes = ", ".join(f"{one['name']} {one['dtype']} {one['shape']}" for one in found.inputs)
    raise host.refusal(
        "SourceError",
        f"the network does not run on {shapes}: {opening.line(first)}",
        "inputs.NAME.shape says the shape it takes, and inputs.NAME.dtype: int64 that it takes whole numbers",
    ) from first


def _example(torch: Any, one: dict[str, Any], sizes: Sequence[int]) -> Any:
    """An input of the shape that is wanted, with sizes for what varies."""
    shape = one.get("tries") or [
        dim if isinstance(dim, int) and dim > 0 else _BATCH if axis == 0 else sizes[(axis - 1) % len(sizes)]
        for axis, dim in enumerate(one["shape"])
    ]
    generator = torch.Generator().manual_seed(1)
    if one["dtype"] == "float":
        return torch.randn(shape, generator=generator)
    kind = getattr(torch, one["dtype"])
    return torch.randint(0, 2, shape, generator=generator).to(kind)


def _named(torch: Any, made: Any, taken: set[str], host: Any) -> tuple[list[str], list[int]]:
    """Names of the tensors in what a network returns, by their keys and places in it; which of its leaves they are."""
    leaves, _ = torch.utils._pytree.tree_flatten_with_path(made)
    names: list[str] = []
    kept: list[int] = []
    used = set(taken)
    for place, (path, leaf) in enumerate(leaves):
        parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path]
        name = "_".join(parts if parts and not parts[0].isdigit() else ["output", *parts])
        if not isinstance(leaf, torch.Tensor):
            if leaf is not None:
                host.message(f"output {name!r} is a {type(leaf).__name__}, no tensor: it is left out", "warning")
            continue
        if leaf.is_complex():
            raise host.refusal(
                "ConversionError",
                f"output {name!r} is of type {str(leaf.dtype).removeprefix('torch.')}, which no engine has",
                "return torch.view_as_real of it",
            )
        free = name
        while free in used:
            free = f"{free}_out"
        used.add(free)
        names.append(free)
        kept.append(place)
    if not names:
        raise host.refusal("SourceError", f"the network returns no tensor, but a {type(made).__name__}")
    return names, kept


def _flat(torch: Any, found: Any, kept: Sequence[int]) -> Any:
    """The network as a function of tensors to a tuple of tensors."""

    class Flat(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = found.module
            self.training = False  # eval() would ask a program's module, which cannot

        def forward(self, *flat: Any) -> Any:
            leaves = torch.utils._pytree.tree_leaves(found.call(self.network, flat))
            return tuple(leaves[place] for place in kept)

    return Flat()


def _written(torch: Any, request: dict[str, Any], host: Any) -> str:
    opening, found = host.beside("opening"), _open["found"]
    if found.scripted:
        _traced(torch, request, host, "torch.onnx.export(dynamo=True) does not take TorchScript")
        return ""
    try:
        program = found.program or _exported(torch)
        _refuse_training(torch, program, host, opening)
        random = _random(torch, program)
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=request["opset"],
            input_names=[one["name"] for one in found.inputs],
            output_names=_open["outputs"],
            custom_translation_table=host.beside("attention").translations(torch, request["opset"]),
            verbose=False,
        )
        made.save(request["model"], external_data=_weight(found.module) > _LARGE)
    except Exception as error:
        if hasattr(error, "kind"):  # a refusal
            raise
        traceback.print_exc()
        root = _root(error)
        why = _fixed(torch, str(root), host) or f"{opening.line(root)}{opening.where(str(root))}"
        _traced(torch, request, host, why, error)
        return ""
    return random


def _fixed(torch: Any, report: str, host: Any) -> str:
    """Why torch.export takes a size as fixed that shall vary; empty where that is not what it reports.

    Raises:
        Refused: the network itself does not run with other sizes, so following one run of it would freeze them.
    """
    found = re.search(r"Constraints violated \(L\['flat'\]\[(\d+)\]\.size\(\)\[(\d+)\]", report)
    if not found:
        return ""
    one, axis = _open["found"].inputs[int(found[1])], int(found[2])
    size = re.search(r"constant \((\d+)\)", report)
    fixed = f"dimension {axis} ({one['shape'][axis]}) of input {one['name']!r}{f' to {size[1]}' if size else ''}"
    others = [_larger(torch, tensor, one) for tensor, one in zip(_open["examples"], _open["found"].inputs, strict=True)]
    try:
        _open["network"](*others)
    except Exception as error:
        raise host.refusal(
            "ConversionError",
            f"the network's code fixes {fixed}: it cannot vary",
            "give it a size in inputs.NAME.shape (--input), or change the code where it uses the size as a number",
        ) from error
    return f"torch.export fixes {fixed}"


def _larger(torch: Any, example: Any, one: dict[str, Any]) -> Any:
    """An example input with other sizes where they may vary."""
    shape = [
        size if isinstance(dim, int) and dim > 0 else size + (32 if axis else 1)
        for axis, (size, dim) in enumerate(zip(example.shape, one["shape"], strict=True))
    ]
    return torch.ones(shape, dtype=example.dtype)


def _root(error: BaseException) -> BaseException:
    """The error that began it all: PyTorch's exporter wraps them."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _exported(torch: Any) -> Any:
    """The network as a program; dimensions that have names may vary."""
    moving = torch.export.Dim.DYNAMIC
    shapes = tuple(
        {axis: moving for axis, dim in enumerate(one["shape"]) if not isinstance(dim, int) or dim < 0} or None
        for one in _open["found"].inputs
    )
    return torch.export.export(_open["network"], tuple(_open["examples"]), dynamic_shapes={"flat": shapes})


def _weight(module: Any) -> int:
    return sum(one.numel() * one.element_size() for one in (*module.parameters(), *module.buffers()))


def _nodes(torch: Any, program: Any) -> Iterator[Any]:
    """Operators of a program and of the graphs within it, with their schemas."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from (node for node in module.graph.nodes if isinstance(node.target, torch._ops.OpOverload))


def _refuse_training(torch: Any, program: Any, host: Any, opening: Any) -> None:
    """Fail on operators that are told to behave as in training: dropout that drops, statistics of the batch."""
    for node in _nodes(torch, program):
        given = _arguments(node)
        if True in (given.get("train"), given.get("training")):
            place = opening.where(str(node.meta.get("stack_trace", "")))
            raise host.refusal(
                "SourceError",
                f"operator {node.name!r} ({node.target}) works as in training{place}",
                "call model.eval() before exporting it; functional.dropout needs training=self.training",
            )


def _arguments(node: Any) -> dict[str, Any]:
    """What an operator is called with, by the names of its schema; defaults included."""
    schema = node.target._schema.arguments
    given = {one.name: one.default_value for one in schema if one.has_default_value()}
    return {**given, **{one.name: value for one, value in zip(schema, node.args, strict=False)}, **node.kwargs}


def _random(torch: Any, program: Any) -> str:
    """The first operator that draws random numbers; dropout that is off draws none."""
    for node in _nodes(torch, program):
        if torch.Tag.nondeterministic_seeded in node.target.tags:
            given = _arguments(node)
            if False not in (given.get("train"), given.get("training")) and given.get("dropout_p") != 0:
                return str(node.name)
    return ""


def _traced(torch: Any, request: dict[str, Any], host: Any, why: str, error: Exception | None = None) -> None:
    """The older exporter, which follows one run of the network: why is said, and where it may be wrong, refused."""
    found, names = _open["found"], [one["name"] for one in _open["found"].inputs]
    moving = {
        one["name"]: {axis: str(dim) for axis, dim in enumerate(one["shape"]) if isinstance(dim, str)}
        for one in found.inputs
    }
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            network, examples = _open["network"], tuple(_open["examples"])
            if found.scripted:  # the exporter itself cannot follow a call of TorchScript
                network = torch.jit.trace(network, examples, check_trace=False)
            torch.onnx.export(
                network,
                examples,
                request["model"],
                dynamo=False,
                opset_version=min(request["opset"], 18),
                input_names=names,
                output_names=_open["outputs"],
                dynamic_axes=moving,
            )
        except Exception as second:
            traceback.print_exc()
            said = why if error is not None else host.beside("opening").line(second)
            raise host.refusal(
                "ConversionError",
                f"PyTorch {torch.__version__} cannot export this network to ONNX: {said}",
                "the log has PyTorch's whole report; change the code at the place that it names",
            ) from second
    own = str(Path(torch.__file__).parent)  # its layers check shapes; what they fix shows in the comparison
    fixed = [one for one in heard if issubclass(one.category, torch.jit.TracerWarning) and own not in one.filename]
    if fixed and not found.scripted:
        raise host.refusal(
            "ConversionError",
            f"PyTorch {torch.__version__} cannot export this network to ONNX: {why}; following one run instead would "
            f"fix what depends on values ({fixed[0].filename}, line {fixed[0].lineno})",
            "replace Python branches on values of tensors by torch.where or torch.cond",
        ) from error
    host.message(f"exported by torch.onnx.export(dynamo=False): {why}", "warning")

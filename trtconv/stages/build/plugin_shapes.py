"""Shapes and types of what plugins make: neither ONNX nor ONNX Runtime knows them, TensorRT does.

Each node is asked alone, with inputs of one size: its outputs then have one size too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from trtconv.core.errors import BuildError
from trtconv.core.records import PluginSpec, ShapeRange
from trtconv.engines.build import refusals
from trtconv.graph import editing, model_io, partition
from trtconv.stages.build.boundaries import Look, Shape

if TYPE_CHECKING:
    from trtconv.adapters.tensorrt import Loaded

_CORNERS = 3


def learn(look: Look, names: Collection[str], loaded: Loaded, brought: tuple[PluginSpec, ...]) -> None:
    """Write into a look at a model what plugins make: at every corner of every profile.

    Args:
        look: of the model; its model gets the types.
        names: nodes that plugins take.
        loaded: that takes them.
        brought: the plugins.

    Raises:
        BuildError: TensorRT does not take such a node alone, or the data decide the shape of its result.
    """
    waiting = set(names)
    while waiting:
        ready = list(_ready(look.model, waiting))
        read = list(dict.fromkeys(name for node in ready for name in _data(look.model, node)))
        seen = look.at().at_corners(read)
        kinds = {**seen.kinds, **partition.element_types(look.model)}
        alone = [
            _alone(look.model, node, {n: seen.shapes[number][n][corner] for n in _data(look.model, node)}, kinds)
            for node in ready
            for number in range(look.count)
            for corner in range(_CORNERS)
        ]
        found = iter(_asked(alone, loaded, brought))
        for node in ready:
            _note(look, node, [[next(found) for _ in range(_CORNERS)] for _ in range(look.count)])
        waiting -= {node.name for node in ready}


def _ready(model: Any, waiting: Collection[str]) -> Iterator[Any]:
    """Those of the nodes that wait which read nothing behind another one."""
    behind: set[str] = set()
    for node in model.graph.node:
        touched = not behind.isdisjoint(editing.reads(node))
        if node.name in waiting and not touched:
            yield node
        if touched or node.name in waiting:
            behind.update(filter(None, node.output))


def _data(model: Any, node: Any) -> list[str]:
    """What a node reads besides weights."""
    held = {tensor.name for tensor in model.graph.initializer}
    return [name for name in dict.fromkeys(editing.reads(node)) if name not in held]


def _alone(model: Any, node: Any, shapes: Mapping[str, Shape], kinds: Mapping[str, int]) -> Any:
    """A model of one node, its inputs of one size."""
    made = onnx.ModelProto(ir_version=model.ir_version)
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    made.graph.name = node.name
    made.graph.node.append(node)
    read = set(editing.reads(node))
    made.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    for name, shape in shapes.items():
        made.graph.input.append(onnx.helper.make_tensor_value_info(name, kinds[name], list(shape)))
    for name in filter(None, node.output):  # the parser wants some type to be declared, and tells the right one
        made.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return made


def _asked(models: Sequence[Any], loaded: Loaded, brought: tuple[PluginSpec, ...]) -> Sequence[refusals.Made]:
    with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
        paths = tuple(Path(folder) / f"{number}.onnx" for number in range(len(models)))
        for path, model in zip(paths, models, strict=True):
            model_io.save(model, path)
        return refusals.made(loaded, paths, brought)


def _note(look: Look, node: Any, found: Sequence[Sequence[refusals.Made]]) -> None:
    """Keep what a node makes: found[profile][corner]."""
    for name in filter(None, node.output):
        for number, corners in enumerate(found):
            low, opt, high = (each[name][1] for each in corners)
            if min((*low, *opt, *high), default=0) < 0:
                raise BuildError(
                    f"node {node.name!r}: data decide the shape of {name!r}, which its plugin makes",
                    hint="fallback has no profile for what reads it; build without fallback, or leave the node out",
                )
            look.made[number][name] = ShapeRange(low, opt, high)
        shapes = [each[name][1] for corners in found for each in corners]
        dims = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]
        kind = onnx.TensorProto.DataType.Value(found[0][0][name][0].upper())
        kept = [value for value in look.model.graph.value_info if value.name != name]
        del look.model.graph.value_info[:]
        look.model.graph.value_info.extend([*kept, onnx.helper.make_tensor_value_info(name, kind, dims)])

"""What would fall back, and what that costs, before anything is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtconv.stages.build.records import BuildRequest


@dataclass(frozen=True)
class Fallen:
    """A node that no engine would hold.

    Attributes:
        node: its name.
        op: its operator.
        by: who decides, as in ``graph.partition.Reason``.
        why: in words.
    """

    node: str
    op: str
    by: str
    why: str


@dataclass(frozen=True)
class Forecast:
    """Parts as TensorRT's parser, types and shapes tell; a build may find more that TensorRT does not take.

    Attributes:
        asked: title and version of the TensorRT asked.
        engines: parts for it.
        rests: parts for ONNX Runtime.
        nodes: share of the nodes inside engines, 0..1.
        products: share of the multiplications of weighted operators inside engines; None: there are none.
        fell_back: why nodes would be in no engine.
        to_host: tensors that are copied from the GPU for every query, the model's outputs included.
        to_gpu: tensors that are copied to it, the model's inputs included.
        host_bytes: of those copies at the optimum of the profile; None where a size depends on data or on an operator
            that inference does not know.
        gpu_bytes: likewise.
        by_plugins: nodes inside engines that plugins compute.
        doubts: about plugins, in sentences.
    """

    asked: str
    engines: int
    rests: int
    nodes: float
    products: float | None
    fell_back: tuple[Fallen, ...]
    to_host: tuple[str, ...]
    to_gpu: tuple[str, ...]
    host_bytes: int | None
    gpu_bytes: int | None
    by_plugins: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def forecast(request: BuildRequest) -> Forecast:
    """Cut a model without building or running any of it.

    Raises:
        SourceError: it cannot be read.
        UsageError: profiles that do not fit it.
        BuildError: the parser crashes on it.
        EnvironmentProblem: no TensorRT is installed.
    """
    from trtconv.adapters import tensorrt
    from trtconv.engines.build import profiles
    from trtconv.engines.run import proof
    from trtconv.graph import corner_shapes, model_io, partition
    from trtconv.stages.build import asking
    from trtconv.stages.build.one_engine import allowed_plugins

    loaded = tensorrt.choose(request.backend)
    model = model_io.load(request.model)
    inputs, _ = model_io.interface(model)
    spans = profiles.nth(profiles.complete(inputs, request.profiles), 0)
    values = profiles.nth(request.values, 0)
    partition.prepare(model)
    asking.require_made(model, request)
    kinds = partition.element_types(model)
    answers = asking.asked(model, loaded, allowed_plugins(request))
    cut = partition.partition(
        model,
        {**asking.without_kernel(model, loaded, kinds), **answers.refused},
        minimum=request.min_subgraph_size,
        deciding=values,
        cuts=request.cuts,
        bounded=request.bounds,
        alone=answers.alone,
    )
    given = {i.name: spans[i.name].optimum if i.name in spans else tuple(map(int, i.shape)) for i in inputs}
    shapes = corner_shapes.at(model, given, {name: span.optimum for name, span in values.items()})
    inside = {name for part in cut.parts if part.engine for name in part.nodes}
    products = {one.node: one.products for one in proof.operators(model, kinds, shapes)}
    ops = {node.name: node.op_type for node in model.graph.node}
    rest = [name for part in cut.parts if not part.engine for name in part.nodes]
    return Forecast(
        asked=loaded.title,
        engines=sum(part.engine for part in cut.parts),
        rests=sum(not part.engine for part in cut.parts),
        nodes=len(inside) / max(len(inside) + len(rest), 1),
        products=sum(n for name, n in products.items() if name in inside) / sum(products.values())
        if products
        else None,
        fell_back=tuple(
            Fallen(name, ops[name], cut.reasons[name].by, cut.reasons[name].why) for name in rest if name in cut.reasons
        ),
        by_plugins=tuple(
            f"{node.name} ({node.op_type})" for node in model.graph.node if node.name in answers.alone & inside
        ),
        doubts=answers.doubts,
        **_copies(model, cut.parts, kinds, shapes),
    )


def _copies(model: Any, parts: Any, kinds: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Tensors that pass between host and GPU: what one side makes and the other reads."""
    taken = {True: set[str](), False: {value.name for value in model.graph.output}}
    made = {True: set[str](), False: {value.name for value in model.graph.input}}
    for part in parts:
        taken[part.engine].update(part.inputs)
        made[part.engine].update(part.outputs)
    to_host, to_gpu = sorted(taken[False] & made[True]), sorted(taken[True] & made[False])
    return {
        "to_host": tuple(to_host),
        "to_gpu": tuple(to_gpu),
        "host_bytes": _bytes(to_host, kinds, shapes),
        "gpu_bytes": _bytes(to_gpu, kinds, shapes),
    }


def _bytes(names: list[str], kinds: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    import onnx

    if any(name not in shapes or not kinds.get(name) for name in names):
        return None
    items = {name: int(onnx.helper.tensor_dtype_to_np_dtype(kinds[name]).itemsize) for name in names}
    return sum(math.prod(shapes[name]) * items[name] for name in names)

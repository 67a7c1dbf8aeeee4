"""What passes between the parts of a model: its shapes and types at the corners of the profiles.

Shapes come from inference where it can say them, else from runs, as do types that the model does not tell and values of
small integer tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trtconv.adapters import onnxruntime
from trtconv.core.errors import BuildError, EnvironmentProblem, SourceError, UsageError
from trtconv.core.records import ShapeRange, TensorInfo
from trtconv.engines.build.profiles import Profile, nth
from trtconv.engines.measure import synthetic
from trtconv.graph import corner_shapes, fold, model_io, partition, strict
from trtconv.graph.input_uses import input_uses

Shape = tuple[int, ...]
_FEW = 64  # values of a tensor that may decide shapes
_BOUNDS = ("minimum", "optimum", "maximum")


@dataclass
class Seen:
    """What runs showed of some tensors.

    Attributes:
        shapes: per profile and tensor, at minimum, optimum and maximum.
        values: likewise, of small integer tensors.
        loose: tensors that changed their shape with the data.
        kinds: element types.
    """

    shapes: list[dict[str, tuple[Shape, Shape, Shape]]] = field(default_factory=list)
    values: list[dict[str, tuple[Shape, Shape, Shape]]] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    kinds: dict[str, int] = field(default_factory=dict)

    def empty(self) -> set[str]:
        """Tensors without elements at some corner: no engine takes those."""
        return {name for each in self.shapes for name, spans in each.items() for shape in spans if 0 in shape}

    def profile(self, number: int, name: str) -> ShapeRange:
        """The range of a tensor's shapes in one profile."""
        return _span(self.shapes[number][name])

    def varies(self, name: str, axis: int) -> bool:
        """Whether a dimension differs between any two runs."""
        return len({shape[axis] for each in self.shapes for shape in each[name]}) > 1

    def value_range(self, number: int, name: str) -> ShapeRange | None:
        """The range of a tensor's values in one profile; None where they are not few integers of a fixed number."""
        found = self.values[number].get(name)
        return _span(found) if found is not None and len({len(each) for each in found}) == 1 else None


def _span(corners: tuple[Shape, Shape, Shape]) -> ShapeRange:
    least = tuple(map(min, *corners))
    most = tuple(map(max, *corners))
    return ShapeRange(least, corners[1], most)


class Look:
    """A model that runs with tensors of its inside as outputs.

    Attributes:
        made: per profile, shapes of what plugins make, which nothing but TensorRT runs.
    """

    def __init__(
        self, model: Any, profiles: Sequence[Profile], values: Sequence[Profile], bounds: Profile | None = None
    ) -> None:
        self.model, self.profiles, self.values, self.bounds = model, profiles, values, dict(bounds or {})
        self.inputs, _ = model_io.interface(model)
        self.uses = input_uses(model)
        self.count = max(len(self.profiles), len(self.values), 1)
        self.made: list[dict[str, ShapeRange]] = [{} for _ in range(self.count)]

    def at(self, *, bounded: bool = True) -> Look:
        """The same with inputs in the place of what cannot be run.

        Args:
            bounded: whether of tensors whose size somebody gave as well.
        """
        given = [{**made, **(self.bounds if bounded else {})} for made in self.made]
        return _Corners(self, given) if given[0] else self

    def require_open(self) -> None:
        """Refuse bounds of a shape that the shapes of the inputs decide.

        Raises:
            UsageError: naming the tensor.
        """
        decided = self.inferred(0, "optimum") if self.bounds else {}
        for name in (name for name in self.bounds if name in decided):
            raise UsageError(
                f"build.partition.bounds: the shape of {name!r} follows from those of the inputs, whatever the data",
                hint="remove it: bounds are for tensors whose size depends on data",
            )

    def at_corners(self, names: Sequence[str]) -> Seen:
        """Shapes at every corner of every profile, and whether they change with the data.

        Raises:
            BuildError: ONNX Runtime cannot run the model.
            UsageError: it does not run at a corner.
        """
        seen = Seen()
        at = self.at()
        kinds = partition.element_types(self.model)
        for number in range(self.count):
            said = [at.inferred(number, bound) for bound in _BOUNDS]
            seen.shapes.append({n: (said[0][n], said[1][n], said[2][n]) for n in names if all(n in s for s in said)})
            seen.values.append({})
            at.run_for([n for n in names if _is_unclear(n, seen.shapes[-1], kinds)], number, seen)
        return seen

    def inferred(self, number: int, bound: str) -> dict[str, Shape]:
        """What inference says of all tensors at one corner."""
        shapes = {info.name: _shape(info, nth(self.profiles, number), bound) for info in self.inputs}
        values = {name: getattr(span, bound) for name, span in nth(self.values, number).items()}
        return corner_shapes.at(self.model, shapes, values)

    def run_for(self, names: Sequence[str], number: int, seen: Seen) -> None:
        """See in runs what inference does not say: at the corners of a profile, and at its optimum with other data."""
        if not names:
            return
        run = _runner(self.model, names)
        corners = [self.tried(run, number, bound) for bound in _BOUNDS]
        other = self.tried(run, number, "optimum", other=True)
        seen.loose |= {name for name in names if other[name].shape != corners[1][name].shape}
        seen.shapes[number] |= {name: _of(corners, name) for name in names}
        seen.values[number] |= {name: _values(corners, name) for name in names if _is_few(corners, name)}
        seen.kinds |= {name: onnx.helper.np_dtype_to_tensor_dtype(corners[1][name].dtype) for name in names}

    def tried(self, run: Any, number: int, bound: str, *, other: bool = False) -> dict[str, np.ndarray]:
        """A run that must succeed: the shapes between the parts come from it."""
        try:
            found: dict[str, np.ndarray] = run(self.feeds(number, bound, other=other))
        except (SourceError, UsageError) as problem:
            raise UsageError(
                f"the model does not run at the {bound} of profile {number}: {problem.message}",
                hint="give shapes (and values of inputs that decide shapes) that fit together at min, opt and max",
            ) from problem
        return found

    def feeds(self, number: int, bound: str, *, other: bool = False) -> dict[str, np.ndarray]:
        """Synthetic inputs for one corner."""
        ranges, deciding = nth(self.profiles, number), nth(self.values, number)
        shapes = {i.name: _shape(i, ranges, bound) for i in self.inputs}
        values = {name: getattr(span, bound) for name, span in deciding.items()}
        feeds = synthetic.feeds(self.inputs, shapes, values, self.uses)
        if not other:
            return feeds
        return {name: array if name in values else _changed(array) for name, array in feeds.items()}

    def learn(self) -> None:
        """Write types and numbers of dimensions that only a run tells into the model: results of foreign operators."""
        known = partition.element_types(self.model)
        dims = fold.known_dims(self.model.graph)
        made = [name for node in self.model.graph.node for name in node.output if name]
        unknown = [name for name in made if name not in known]
        if not unknown:
            return
        at = self.at(bounded=False)
        arrays = at.tried(_runner(at.model, unknown), 0, "optimum")
        kept = [value for value in self.model.graph.value_info if value.name not in arrays]
        del self.model.graph.value_info[:]
        self.model.graph.value_info.extend(kept)
        for name in unknown:
            kind = onnx.helper.np_dtype_to_tensor_dtype(arrays[name].dtype)
            shape = dims.get(name) or [None] * arrays[name].ndim
            self.model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, shape))

    def settled(self) -> set[str]:
        """Results of If whose shapes inference cannot tell, and that are the same whichever branch is taken."""
        if (at := self.at(bounded=False)) is not self:
            return at.settled()
        dims, found = fold.known_dims(self.model.graph), set()
        for position, node in enumerate(self.model.graph.node):
            unclear = [name for name in node.output if name and None in dims.get(name, (None,))]
            if node.op_type != "If" or not unclear:
                continue
            taken = [self.forced(position, unclear, flag) for flag in (True, False)]
            found |= {name for name in unclear if taken[0][name] == taken[1][name]}
        return found

    def forced(self, position: int, names: Sequence[str], flag: bool) -> dict[str, list[Shape]]:
        """Shapes of the results of an If at all corners when one branch is taken."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        copy.graph.node[position].input[0] = "trtconv/forced"
        copy.graph.initializer.append(onnx.numpy_helper.from_array(np.array(flag), "trtconv/forced"))
        run = _runner(copy, names)
        corners = [(number, bound) for number in range(max(len(self.profiles), 1)) for bound in _BOUNDS]
        runs = [self.tried(run, number, bound) for number, bound in corners]
        return {name: [each[name].shape for each in runs] for name in names}


class _Corners(Look):
    """The same model where tensors whose size somebody gave, or that plugins make, are inputs of these sizes.

    What lies behind them has its shapes at the corners of these ranges, whatever the data of a run would make.
    """

    def __init__(self, look: Look, given: Sequence[Profile]) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(look.model)
        kinds = partition.element_types(look.model)
        for node in copy.graph.node:
            outputs = [f"{name}/unbounded" if name in given[0] else name for name in node.output]
            del node.output[:]
            node.output.extend(outputs)
        for name, span in given[0].items():
            open_dims = [None] * len(span.optimum)
            copy.graph.input.append(onnx.helper.make_tensor_value_info(name, kinds[name], open_dims))
        profiles = [{**nth(look.profiles, number), **each} for number, each in enumerate(given)]
        super().__init__(copy, profiles, look.values)


def _is_unclear(name: str, known: Mapping[str, Any], kinds: Mapping[str, int]) -> bool:
    """Whether a run must tell: a shape or a type that is not known, or few integers whose values may decide shapes."""
    if name not in known or not kinds.get(name):
        return True
    few = all(math.prod(shape) <= _FEW for shape in known[name])
    return few and kinds[name] in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def _runner(model: Any, names: Sequence[str]) -> Any:
    """A function from inputs to the named tensors; runs what these need."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    needed = partition.needed_nodes(copy.graph, {node.name for node in copy.graph.node}, names)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in needed]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    del copy.graph.output[:]
    kinds = partition.element_types(model)
    for name in names:
        value = copy.graph.output.add()
        value.name = name
        if kinds.get(name):
            value.type.tensor_type.elem_type = kinds[name]
    with _somebody_runs_it():
        if strict.needed(copy):
            return strict.session(copy).run
        return onnxruntime.session(copy.SerializeToString(), optimize=False).run


def require_runnable(part: Path) -> None:
    """Refuse a part for ONNX Runtime that it cannot load.

    Raises:
        BuildError: it names what ONNX Runtime says.
    """
    with _somebody_runs_it():
        strict.open_file(part)


@contextmanager
def _somebody_runs_it() -> Iterator[None]:
    try:
        yield
    except (SourceError, EnvironmentProblem) as problem:
        raise BuildError(
            f"what TensorRT refuses has nobody to run it: {problem.message}",
            hint="with fallback, ONNX Runtime must be able to run the model; trtconv check names what is refused",
        ) from problem


def _shape(info: TensorInfo, ranges: Profile, bound: str) -> Shape:
    if info.name in ranges:
        found: Shape = getattr(ranges[info.name], bound)
        return found
    return tuple(int(dim) for dim in info.shape)


def _of(corners: Sequence[Mapping[str, np.ndarray]], name: str) -> tuple[Shape, Shape, Shape]:
    low, opt, high = (each[name].shape for each in corners)
    return low, opt, high


def _is_few(corners: Sequence[Mapping[str, np.ndarray]], name: str) -> bool:
    return all(each[name].dtype.kind == "i" and each[name].size <= _FEW for each in corners)


def _values(corners: Sequence[Mapping[str, np.ndarray]], name: str) -> tuple[Shape, Shape, Shape]:
    low, opt, high = (tuple(int(value) for value in each[name].flat) for each in corners)
    return low, opt, high


def _changed(array: np.ndarray) -> np.ndarray:
    """Other data of the same shape, inside the same range."""
    if array.dtype.kind == "b":
        return ~array
    turned = np.ascontiguousarray(array.ravel()[::-1].reshape(array.shape))
    return turned if array.dtype.kind in "iu" else (turned * -0.5).astype(array.dtype)

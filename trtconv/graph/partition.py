"""Cut a model into parts that TensorRT takes and parts that it does not; the parts in order compute the model.

Every part is convex: no path leaves it and comes back, so that a part runs once, when all that it reads is there.
Kinds alternate along every path, and each change of kind begins a new level, as does a tensor at which the user cuts; a
part is what hangs together of one level and one kind. A path that leaves a part therefore only meets higher levels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx

from trtconv.graph import editing, fold, shape_origins, types

MINIMUM = 3
"""Nodes below which a part is not worth an engine, unless somebody says otherwise."""

_KINDS = ("FLOAT", "FLOAT16", "BFLOAT16", "INT8", "INT32", "INT64", "BOOL", "FLOAT8E4M3FN", "INT4", "UINT8")
_TAKEN = frozenset(onnx.TensorProto.DataType.Value(name) for name in _KINDS)
_FEW = 1024  # elements up to which shape arithmetic is computed again instead of handed on
_HIGH = 1 << 30


@dataclass(frozen=True)
class Reason:
    """Why a node is in no engine.

    Attributes:
        by: ``parser``, ``kernel``, ``build`` (TensorRT says so), ``type``, ``data`` (shapes that depend on data),
            ``size`` (too few nodes around it) or ``pair`` (the other half of its Q/DQ pair).
        why: in words.
    """

    by: str
    why: str


@dataclass(frozen=True)
class Part:
    """Nodes that run as one.

    Attributes:
        engine: whether TensorRT takes them.
        nodes: names, in order; each node of the model is in one part, unless nothing needs it.
        copied: names of nodes that compute constants and sizes which the part reads: others may have them too.
        inputs: tensors from outside, in order of first use; no constants.
        outputs: tensors that others read, or the model gives.
    """

    engine: bool
    nodes: tuple[str, ...]
    copied: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Partition:
    """A model in parts.

    Attributes:
        parts: in an order in which every tensor is made before it is read.
        reasons: why nodes are in no engine, by name.
        open: tensors whose shape depends on data.
    """

    parts: tuple[Part, ...]
    reasons: Mapping[str, Reason]
    open: frozenset[str] = frozenset()


def prepare(model: Any) -> None:
    """Bring a model, in place, into the form that ``partition`` needs: named, sorted nodes, and inferred shapes."""
    editing.normalize(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(editing.skeleton(model), data_prop=True)
    except onnx.shape_inference.InferenceError:  # what it cannot say stays open
        return
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.graph.value_info)


def element_types(model: Any) -> dict[str, int]:
    """Element type (TensorProto.DataType) of every tensor of the main graph, as far as the model tells."""
    found = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    return {**{name: kind for name, kind in found.items() if kind}, **types.infer(model)}


def partition(
    model: Any,
    refused: Mapping[str, Reason],
    *,
    minimum: int = MINIMUM,
    deciding: Collection[str] = (),
    measured: Collection[str] = (),
    settled: Collection[str] = (),
    cuts: Collection[str] = (),
    bounded: Collection[str] = (),
    alone: Collection[str] = (),
) -> Partition:
    """Cut a model; the same model and the same answers give the same parts.

    Args:
        model: typed ONNX, see ``prepare``.
        refused: what TensorRT does not take, by node.
        minimum: nodes that an engine has at least.
        deciding: inputs whose values decide shapes, within a range that the engines will know.
        measured: tensors that changed their shape with the data when they were looked at.
        settled: results of branches that have one shape, whichever is taken.
        cuts: tensors at which an engine ends and another one begins.
        bounded: tensors whose shape depends on data within a range that somebody gave.
        alone: nodes that nothing but TensorRT runs: an engine of them is never too small.
    """
    origins = shape_origins.origins(
        model, refused=refused, deciding=deciding, measured=measured, settled=settled, bounded=bounded
    )
    cut = _Cut(model, refused, deciding, origins, cuts)
    cut.minimum, cut.alone = minimum, frozenset(alone)
    while small := cut.too_small(minimum):
        cut.bad.update(small)
        cut.join_pairs()
    return Partition(tuple(cut.parts()), dict(cut.bad), cut.origins.open)


class _Cut:
    def __init__(
        self,
        model: Any,
        refused: Mapping[str, Reason],
        deciding: Collection[str],
        origins: shape_origins.Origins,
        cuts: Collection[str],
    ) -> None:
        self.graph = model.graph
        self.reads = {node.name: list(dict.fromkeys(editing.reads(node))) for node in self.graph.node}
        self.readers: dict[str, list[str]] = {}
        for reader, tensors in self.reads.items():
            for tensor in tensors:
                self.readers.setdefault(tensor, []).append(reader)
        self.made_by = {name: node.name for node in self.graph.node for name in node.output if name}
        self.node = {node.name: node for node in self.graph.node}
        self.place = {node.name: position for position, node in enumerate(self.graph.node)}
        self.origins = origins
        self.constants = {tensor.name for tensor in self.graph.initializer}
        self.results = [value.name for value in self.graph.output]
        self.minimum = MINIMUM
        self.alone: frozenset[str] = frozenset()
        self.deciding, self.dims, self.cuts = set(deciding), fold.known_dims(self.graph), set(cuts)
        self.bad = dict(refused)
        kinds = element_types(model)
        for node in self.graph.node:
            if node.name not in self.bad and (reason := self.reason(node, kinds)):
                self.bad[node.name] = reason
        self.refused = frozenset(self.bad)  # those that no engine may hold, not even as a copy
        self.join_pairs()

    def reason(self, node: Any, kinds: Mapping[str, int]) -> Reason | None:
        names = [*self.reads[node.name], *filter(None, node.output)]
        foreign = [name for name in names if kinds.get(name, onnx.TensorProto.FLOAT) not in _TAKEN]
        if foreign:
            return Reason("type", f"{foreign[0]!r} is {types.name_of(kinds[foreign[0]])}, unknown to TensorRT")
        loose = [name for name in names if name in self.origins.open]
        return Reason("data", f"the shape of {loose[0]!r} depends on data") if loose else None

    def join_pairs(self) -> None:
        """Let both halves of a Q/DQ pair be of one kind: integers between parts would lose their scale."""
        for node in self.graph.node:
            if node.op_type != "DequantizeLinear" or (maker := self.made_by.get(node.input[0])) is None:
                continue
            if self.node[maker].op_type != "QuantizeLinear" or (maker in self.bad) == (node.name in self.bad):
                continue
            self.bad.setdefault(maker, Reason("pair", f"{node.name!r} is its other half"))
            self.bad.setdefault(node.name, Reason("pair", f"{maker!r} is its other half"))

    def computing(self) -> list[Any]:
        """The nodes that are not constants: these are in one part each."""
        return [node for node in self.graph.node if not self.is_known(node)]

    def is_known(self, node: Any) -> bool:
        known = self.origins.known.issuperset(filter(None, node.output))
        return known and node.name not in self.refused

    def groups(self) -> list[tuple[int, bool, list[str]]]:
        """(level, whether TensorRT takes it, nodes) of all parts, in order."""
        level = self.levels()
        for names in sorted(self.connected(level), key=lambda names: -level[names[0]]):
            if names[0] not in self.bad and len(names) < self.minimum:
                self.lower(names, level)
        found = [(level[names[0]], names[0] not in self.bad, names) for names in self.connected(level)]
        return sorted(found, key=lambda group: (group[0], group[1], self.place[group[2][0]]))

    def levels(self) -> dict[str, int]:
        """The earliest level of every node."""
        level: dict[str, int] = {}
        for node in self.computing():
            good = node.name not in self.bad
            level[node.name] = max(
                (level[m] + self.is_border(m, t, good) for m, t in self.before(node, level)), default=0
            )
        return level

    def connected(self, level: Mapping[str, int]) -> list[list[str]]:
        """Nodes that hang together within one level and kind."""
        union = _Union()
        for node in self.computing():
            union.add(node.name)
            for maker, name in self.before(node, level):
                if level[maker] == level[node.name] and not self.is_border(maker, name, node.name not in self.bad):
                    union.join(maker, node.name)
        members: dict[str, list[str]] = {}
        for name in level:
            members.setdefault(union.root(name), []).append(name)
        return list(members.values())

    def lower(self, names: Sequence[str], level: dict[str, int]) -> None:
        """Let a few nodes wait until they are read, where they may be in an engine that is worth one."""
        made = [(name, tensor) for name in names for tensor in self.node[name].output if tensor]
        read = [(maker, tensor, reader) for maker, tensor in made for reader in self.readers.get(tensor, ())]
        latest = [
            level[reader] - self.is_border(maker, tensor, reader not in self.bad)
            for maker, tensor, reader in read
            if reader in level and reader not in names
        ]
        if latest and min(latest) > level[names[0]]:
            level.update(dict.fromkeys(names, min(latest)))

    def before(self, node: Any, level: Mapping[str, int]) -> list[tuple[str, str]]:
        """The makers of what a node reads, with the tensor; not those of constants."""
        makers = ((self.made_by.get(name), name) for name in self.reads[node.name])
        return [(maker, name) for maker, name in makers if maker is not None and maker in level]

    def is_border(self, maker: str, name: str, good: bool) -> bool:
        """Whether a node, taken by TensorRT or not, is in another part than the maker of what it reads."""
        taken = maker not in self.bad
        return taken != good or (good and name in self.cuts)

    def too_small(self, minimum: int) -> dict[str, Reason]:
        """The nodes of engines that are not worth one."""
        found: dict[str, Reason] = {}
        for _, good, names in self.groups():
            sizes = all(self.origins.sizes.issuperset(filter(None, self.node[name].output)) for name in names)
            if good and (len(names) < minimum or sizes) and self.alone.isdisjoint(names):
                why = "only shape arithmetic" if sizes else f"{len(names)} nodes are fewer than {minimum}"
                found.update(dict.fromkeys(names, Reason("size", why)))
        return found

    def parts(self) -> list[Part]:
        """Close every group, and leave out what nothing needs any more."""
        parts = [self.closed(good, names) for _, good, names in self.groups()]
        made = {tensor for part in parts for name in part.nodes for tensor in self.node[name].output}
        made.update(value.name for value in self.graph.input)
        if rest := [name for name in self.results if name not in made]:  # constants that the model gives
            makers = [self.made_by[name] for name in dict.fromkeys(rest) if name in self.made_by]
            parts.insert(0, replace(self.closed(False, makers), outputs=tuple(dict.fromkeys(rest))))
        while (fewer := self.pruned(parts, rest)) != parts:
            parts = fewer
        return parts

    def pruned(self, parts: Sequence[Part], rest: Sequence[str]) -> list[Part]:
        """Parts without the nodes whose results nobody reads, and without those that have none."""
        wanted = {*self.results, *(name for part in parts for name in part.inputs)}
        kept = []
        for part in parts:
            made = (name for each in part.nodes for name in self.node[each].output)
            outputs = part.outputs if set(part.outputs) & set(rest) else tuple(name for name in made if name in wanted)
            needed = {node.name: node for node in needed_nodes(self.graph, {*part.nodes, *part.copied}, outputs)}
            nodes, copied = (tuple(n for n in own if n in needed) for own in (part.nodes, part.copied))
            if outputs:
                kept.append(Part(part.engine, nodes, copied, tuple(self.inputs(needed)), outputs))
        return kept

    def closed(self, good: bool, names: list[str]) -> Part:
        """A group with the nodes that compute the constants and sizes that it reads."""
        copied = self.constant_makers(names)
        inputs = self.inputs([*names, *copied])
        made = {tensor for each in names for tensor in self.node[each].output}
        there = made | (set(inputs) - self.origins.sizes)
        for name in (name for name in inputs if name in self.origins.sizes):
            copied |= self.chain(name, good, there) or set()
        ordered = sorted(copied - set(names), key=self.place.__getitem__)
        everything = sorted({*names, *ordered}, key=self.place.__getitem__)
        return Part(good, tuple(names), tuple(ordered), tuple(self.inputs(everything)), ())

    def inputs(self, names: Iterable[str]) -> list[str]:
        made = {tensor for each in names for tensor in self.node[each].output} | self.constants
        return list(dict.fromkeys(name for each in names for name in self.reads[each] if name not in made))

    def constant_makers(self, names: Sequence[str]) -> set[str]:
        """The nodes that compute the constants which some nodes read."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            for name in self.reads[waiting.pop()]:
                maker = self.made_by.get(name)
                if maker is not None and maker not in found and self.is_known(self.node[maker]):
                    found.add(maker)
                    waiting.append(maker)
        return found

    def chain(self, name: str, good: bool, there: Collection[str]) -> set[str] | None:
        """The nodes that compute a size from what a part has anyway; None where that is not all it takes."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name in there or name in self.constants or name in self.deciding:
                continue
            maker = self.made_by.get(name)
            if maker is None or (good and maker in self.refused) or not self.is_copyable(maker):
                return None
            if maker not in found:
                found.add(maker)
                waiting += self.reads[maker]
        return found

    def is_copyable(self, name: str) -> bool:
        """Whether a node computes a constant, or few values from sizes."""
        if self.is_known(self.node[name]):
            return True
        outputs = list(filter(None, self.node[name].output))
        return self.origins.sizes.issuperset(outputs) and all(self.elements(each) <= _FEW for each in outputs)

    def elements(self, name: str) -> int:
        total = 1
        for dim in self.dims.get(name, (None,)):
            total *= dim if isinstance(dim, int) else _HIGH
        return total


class _Union:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self.above: dict[str, str] = {}

    def add(self, name: str) -> None:
        self.above[name] = name

    def root(self, name: str) -> str:
        while self.above[name] != name:
            self.above[name] = self.above[self.above[name]]
            name = self.above[name]
        return name

    def join(self, first: str, second: str) -> None:
        self.above[self.root(second)] = self.root(first)


def extract(model: Any, part: Part, shapes: Mapping[str, Sequence[int | str]], kinds: Mapping[str, int]) -> Any:
    """A part as a model of its own.

    Args:
        model: that was cut.
        part: of it.
        shapes: of the part's inputs, and of those outputs that are known; names stand for dimensions that vary.
        kinds: element types of its inputs and outputs.
    """
    wanted = needed_nodes(model.graph, {*part.nodes, *part.copied}, part.outputs)
    made = onnx.ModelProto()
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version"):
        setattr(made, name, getattr(model, name))
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    made.graph.name = model.graph.name or "graph"
    made.graph.node.extend(wanted)
    read = {name for node in wanted for name in editing.reads(node)} | set(part.outputs)
    made.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    for name in part.inputs:
        made.graph.input.append(onnx.helper.make_tensor_value_info(name, kinds[name], list(shapes[name])))
    for name in part.outputs:
        value = onnx.helper.make_tensor_value_info(name, kinds.get(name, 0), shapes.get(name))
        made.graph.output.append(value)
    inner = {name for node in wanted for name in node.output} - set(part.outputs)
    made.graph.value_info.extend(value for value in model.graph.value_info if value.name in inner)
    return made


def needed_nodes(graph: Any, names: Collection[str], outputs: Sequence[str]) -> list[Any]:
    """Those of some nodes, by name, that outputs need, in order."""
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if node.name in names and not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(editing.reads(node))
    return kept[::-1]

"""Operators with rules of our own: taken out of a program before it is converted, put into the ONNX model after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper

from trtconv.core.errors import ConversionError
from trtconv.core.records import Dim, InputSpec, TensorInfo
from trtconv.graph import check, clean, editing, grafting, model_io, reshape
from trtconv.graph.building import Builder
from trtconv.sources.paddle import cutting, rules, signatures
from trtconv.sources.paddle.network import Network
from trtconv.sources.paddle.padding import Padding, behind, of_proposals
from trtconv.sources.paddle.parameters import Tensor
from trtconv.sources.paddle.program import Operator, Program

_SMALL = 64
"""Elements of constants whose values a rule can ask for."""

_FIXED = "give the inputs fixed shapes: --input NAME:N,C,H,W, inputs.NAME.shape"


OPSET = 17
"""In which operators are written; others are made of it."""


@dataclass(frozen=True)
class Plan:
    """A program in two halves.

    Attributes:
        whole: what is converted, all of it.
        rest: what the converter gets: variables that rules make are inputs, and what they read are outputs.
        ruled: operators with rules, in order.
    """

    whole: Program
    rest: Program | None
    ruled: tuple[Operator, ...]


def plan(whole: Program) -> Plan:
    """Take the operators that have rules out of a program whose variables are written once."""
    taken = tuple(op for op in whole.main.operators if rules.has_rule(op))
    known = constants(whole)
    if not taken:
        return Plan(whole, whole, ())
    made = {name for op in taken for name in op.makes()}
    plain = {name for op in whole.main.operators if op not in taken and op.type != "feed" for name in op.makes()}
    read = [name for op in taken for name in op.reads() if name not in known]
    ends = dict.fromkeys(name for name in [*whole.fetches(), *read] if name in plain and name != "fetch")
    used = [name for name in dict.fromkeys(name for op in taken for name in op.makes()) if name in made]
    rest = cutting.cut(whole, list(ends), used) if ends else None
    return Plan(whole, rest, taken)


def constants(whole: Program) -> dict[str, np.ndarray]:
    """Small lists of whole numbers that operators of Paddle 3 take as inputs, such as sizes."""
    return {
        op.makes()[0]: np.array(op.get("value"), np.int64)
        for op in whole.main.operators
        if op.type == "full_int_array" and len(op.get("value", ())) <= _SMALL
    }


def empty(opset: int) -> onnx.ModelProto:
    """A model without nodes, for programs of which the rules make everything."""
    return helper.make_model(helper.make_graph([], "graph", [], []), opset_imports=[helper.make_opsetid("", opset)])


def finish(
    model: onnx.ModelProto, chosen: Plan, network: Network, weights: Mapping[str, Tensor], inputs: Sequence[InputSpec]
) -> dict[str, Padding]:
    """Put the operators into the model, in place, and give it the inputs and outputs of the whole program.

    Args:
        model: what became of ``chosen.rest``, prepared.
        chosen: the plan.
        network: the model.
        weights: where its weights lie.
        inputs: shapes that are asked for.

    Returns:
        Outputs with a fixed number of rows per image, where Paddle has as many as it finds.

    Raises:
        ConversionError: an operator cannot be expressed, or a tensor is missing.
    """
    work = _Lowering(model, chosen.whole, network, weights, inputs)
    for op in chosen.ruled:
        work.graft(op)
    work.by_image()
    work.end()
    return {name: rows for name, rows in work.padded.items() if name in chosen.whole.fetches()}


class _Lowering:
    """A model on its way from the converter's half to the whole.

    Attributes:
        padded: variables with a fixed number of rows per image.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        whole: Program,
        network: Network,
        weights: Mapping[str, Tensor],
        inputs: Sequence[InputSpec],
    ) -> None:
        self._model, self._whole, self._weights = model, whole, weights
        self._constants = constants(whole)
        self.padded: dict[str, Padding] = {}
        infos = network.info(whole.feeds())
        known = {value.name for value in model.graph.input}
        for info in infos:  # those too that only operators with rules read
            if info.name not in known:
                kind = onnx.TensorProto.DataType.Value(info.dtype.upper())
                model.graph.input.append(helper.make_tensor_value_info(info.name, kind, info.shape))
        reshape.set_shapes(model, [InputSpec(info.name, info.shape) for info in infos])
        reshape.set_shapes(model, inputs)
        asked = {spec.name: spec.shape for spec in inputs if spec.shape is not None}
        self._as_saved = all(_fits(asked.get(info.name), info.shape) for info in infos)

    def graft(self, op: Operator) -> None:
        """Put one operator into the model; sizes that shapes are computed from are looked for when they are missed."""
        try:
            self._graft(op)
        except rules.Refused:
            clean.clean(self._model)
            self._graft(op)

    def _graft(self, op: Operator) -> None:
        infos = self._infos()
        builder, tensors = Builder(editing.opset(self._model)), dict[str, str]()
        small = {one.name: one for one in self._model.graph.initializer if math.prod(one.dims) <= _SMALL}
        for name in dict.fromkeys(op.reads()):
            if name in self._weights:
                tensors[name] = builder.constant(self._weights[name].array(), name)
            elif name in self._constants:
                tensors[name] = builder.constant(self._constants[name], name)
            elif name in small:
                tensors[name] = builder.constant(editing.array(small[name]), name)
            elif name in infos:
                tensors[name] = builder.input(infos[name])
        title = f"{op.type}/{next(iter(op.makes()), '')}"
        self._add(builder, rules.apply(rules.Call(builder, signatures.named(op), tensors, title, self.padded)))

    def _add(self, builder: Builder, made: Mapping[str, str]) -> None:
        piece = builder.model(dict.fromkeys(made.values()))
        types = {value.name: value.type for value in piece.graph.output}
        grafting.graft(self._model, piece, made)
        for name, tensor in made.items():  # an output for now: cleaning would drop what is read later only
            self._model.graph.output.append(onnx.ValueInfoProto(name=name, type=types[tensor]))
        editing.replace_nodes(self._model.graph, editing.sorted_nodes(self._model.graph))
        del self._model.graph.value_info[:]

    def _infos(self) -> dict[str, TensorInfo]:
        """Type and shape of every tensor that has both; sizes that cannot be inferred are those of the program."""
        check.infer_shapes(self._model)
        graph = self._model.graph
        found = {
            tensor.name: TensorInfo(tensor.name, model_io.dtype_name(tensor.data_type), tuple(tensor.dims))
            for tensor in graph.initializer
        }
        found |= {info.name: info for info in model_io.infos([*graph.input, *graph.value_info, *graph.output])}
        return {name: self._completed(info) for name, info in found.items()}

    def _completed(self, info: TensorInfo) -> TensorInfo:
        variable = self._whole.main.variables.get(info.name)
        if not self._as_saved or variable is None or len(variable.shape) != len(info.shape):
            return info
        pairs = zip(info.shape, variable.shape, strict=True)
        return replace(info, shape=tuple(said if isinstance(dim, str) and said >= 0 else dim for dim, said in pairs))

    def by_image(self) -> None:
        """Give results [image, row, ...], and 0 in the rows of what is computed from them, such as masks."""
        outputs = self._whole.fetches()
        for results in [name for name, padding in self.padded.items() if padding.fill == -1]:
            for name in behind(self._whole, results, outputs):
                if name not in self.padded:
                    self.padded[name] = Padding(self.padded[results].rows, 0.0, results)
        self.padded |= of_proposals(self._whole, self.padded, outputs)
        for name in sorted(filter(self.padded.__contains__, outputs), key=lambda name: not self.padded[name].of):
            self._give(name, self.padded[name])

    def _give(self, name: str, padding: Padding) -> None:
        """Let an output be [image, row, ...]; the rows of ``padding.of`` say which are results."""
        infos, graph = self._infos(), self._model.graph
        bare = editing.Names.of(self._model).fresh(f"{name}/rows")
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [bare if tensor == name else tensor for tensor in names]
        kept = [value for value in graph.output if value.name != name]
        del graph.output[:]
        graph.output.extend(kept)
        b, rest = Builder(editing.opset(self._model)), infos[name].shape[1:]
        if not all(isinstance(size, int) for size in rest):
            raise ConversionError(f"output {name!r} has sizes that are not known: {list(rest)}", hint=_FIXED)
        x = b.input(replace(infos[name], name=bare))
        out = b.add("Reshape", [x, b.constant([-1, padding.rows, *rest], f"{name}/shape")], f"{name}/by_image")
        if padding.of and padding.fill is not None:
            label = b.add(
                "Gather", [b.input(infos[padding.of]), b.constant([0], f"{name}/first")], f"{name}/class", axis=1
            )
            valid = b.add("GreaterOrEqual", [label, b.constant(0.0, f"{name}/zero")], f"{name}/is_result")
            valid = b.add(
                "Reshape", [valid, b.constant([-1, padding.rows] + [1] * len(rest), f"{name}/row")], f"{name}/valid"
            )
            blank = b.add("CastLike", [b.constant(0.0, f"{name}/blank"), x], f"{name}/blank_row")
            out = b.add("Where", [valid, out, blank], f"{name}/out")
        self._add(b, {name: out})

    def end(self) -> None:
        """Give the model the program's inputs and outputs."""
        _ends(self._model, self._whole)


def _fits(asked: Sequence[Dim] | None, said: Sequence[Dim]) -> bool:
    """Whether a shape leaves the sizes that the program fixes."""
    return asked is None or all(isinstance(size, str) or dim == size for dim, size in zip(asked, said, strict=False))


def _compute_constants(model: onnx.ModelProto, outputs: Sequence[str]) -> None:
    """Outputs that are constants, such as priors, are made by a node: an initializer is no output for every program."""
    names = editing.Names.of(model)
    for tensor in model.graph.initializer:
        if tensor.name in outputs:
            name, tensor.name = tensor.name, names.fresh(f"{tensor.name}/constant")
            for node in model.graph.node:
                node.input[:] = [tensor.name if read == name else read for read in node.input]
            model.graph.node.append(
                helper.make_node("Identity", [tensor.name], [name], names.fresh(f"Identity_{name}"))
            )


def _ends(model: onnx.ModelProto, whole: Program) -> None:
    """Inputs and outputs in the program's order, and no others."""
    inputs = {value.name: value for value in model.graph.input}
    _compute_constants(model, whole.fetches())
    made = editing.producers(model.graph)
    lost = [name for name in whole.fetches() if name not in made and name not in inputs]
    if lost:
        raise ConversionError(f"paddle2onnx lost output {', '.join(lost)}", hint="choose others: convert.outputs")
    reads = {name for node in model.graph.node for name in editing.reads(node)}
    foreign = [name for name in inputs if name in reads and name not in whole.feeds()]
    if foreign:
        raise ConversionError(f"nothing makes {', '.join(foreign)}", hint="end the model before: convert.outputs")
    check.infer_shapes(model)
    typed = {value.name: value for value in (*model.graph.output, *model.graph.value_info)}
    outputs = [onnx.ValueInfoProto.FromString(typed[name].SerializeToString()) for name in whole.fetches()]
    chosen = [onnx.ValueInfoProto.FromString(inputs[name].SerializeToString()) for name in whole.feeds()]
    del model.graph.input[:], model.graph.output[:]
    model.graph.input.extend(chosen)
    model.graph.output.extend(outputs)
    clean.prepare(model)

"""Operators with rules of our own: taken out of a program before it is converted, put into the ONNX model after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from trtconv.core.errors import ConversionError
from trtconv.core.records import InputSpec, TensorInfo
from trtconv.graph import check, clean, editing, grafting, model_io, reshape
from trtconv.graph.building import Builder
from trtconv.sources.paddle import cutting, rules, signatures
from trtconv.sources.paddle.network import Network
from trtconv.sources.paddle.parameters import Tensor
from trtconv.sources.paddle.program import Operator, Program


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


def plan(whole: Program, ruled: Collection[str]) -> Plan:
    """Take operators out of a program.

    Args:
        whole: with every variable written once.
        ruled: the types of these operators.
    """
    taken = tuple(op for op in whole.main.operators if op.type in ruled)
    if not taken:
        return Plan(whole, whole, ())
    made = {name for op in taken for name in op.makes()}
    plain = {name for op in whole.main.operators if op not in taken and op.type != "feed" for name in op.makes()}
    read = [name for op in taken for name in op.reads()]
    ends = dict.fromkeys(name for name in [*whole.fetches(), *read] if name in plain and name != "fetch")
    used = [name for name in dict.fromkeys(name for op in taken for name in op.makes()) if name in made]
    rest = cutting.cut(whole, list(ends), used) if ends else None
    return Plan(whole, rest, taken)


def empty(opset: int) -> onnx.ModelProto:
    """A model without nodes, for programs of which the rules make everything."""
    return helper.make_model(helper.make_graph([], "graph", [], []), opset_imports=[helper.make_opsetid("", opset)])


def finish(
    model: onnx.ModelProto, chosen: Plan, network: Network, weights: Mapping[str, Tensor], inputs: Sequence[InputSpec]
) -> dict[str, rules.Padding]:
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
    _declare(model, network.info(chosen.whole.feeds()))
    reshape.set_shapes(model, inputs)
    padded: dict[str, rules.Padding] = {}
    for op in chosen.ruled:
        _graft(model, op, weights, padded)
    _ends(model, chosen.whole)
    return {name: rows for name, rows in padded.items() if name in chosen.whole.fetches()}


def _declare(model: onnx.ModelProto, infos: Sequence[TensorInfo]) -> None:
    """The program's inputs with its shapes, those too that only operators with rules read."""
    known = {value.name for value in model.graph.input}
    for info in infos:
        if info.name not in known:
            kind = onnx.TensorProto.DataType.Value(info.dtype.upper())
            model.graph.input.append(helper.make_tensor_value_info(info.name, kind, info.shape))
    reshape.set_shapes(model, [InputSpec(info.name, info.shape) for info in infos])


def _graft(
    model: onnx.ModelProto, op: Operator, weights: Mapping[str, Tensor], padded: dict[str, rules.Padding]
) -> None:
    infos = _infos(model)
    builder, tensors = Builder(editing.opset(model)), dict[str, str]()
    for name in dict.fromkeys(op.reads()):
        if name in weights:
            tensors[name] = builder.constant(weights[name].array(), name)
        elif name in infos:
            tensors[name] = builder.input(infos[name])
    call = rules.Call(builder, signatures.named(op), tensors, f"{op.type}/{next(iter(op.makes()), '')}", padded)
    made = rules.apply(call)
    grafting.graft(model, builder.model(dict.fromkeys(made.values())), made)
    editing.replace_nodes(model.graph, editing.sorted_nodes(model.graph))
    del model.graph.value_info[:]


def _infos(model: onnx.ModelProto) -> dict[str, TensorInfo]:
    """Type and shape of every tensor that has both."""
    check.infer_shapes(model)
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    constants = {
        tensor.name: TensorInfo(tensor.name, model_io.dtype_name(tensor.data_type), tuple(tensor.dims))
        for tensor in model.graph.initializer
    }
    return constants | {info.name: info for info in model_io.infos(values)}


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

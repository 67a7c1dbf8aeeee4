"""The recorded network as an ONNX model, and what the script may ask of it before it is whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtconv.core.records import Dim
from trtconv.sources.network import emit
from trtconv.sources.network.arrays import Dims
from trtconv.sources.network.definition import Network
from trtconv.sources.network.emit.inference import conclude
from trtconv.sources.network.emit.site import ELEMENT, INT32, INT64, OPSET, Known, Site
from trtconv.sources.network.enums import Member, member
from trtconv.sources.network.recording import Layer, Refused, Tensor

_IR_VERSION = 8
_TYPES = {
    TensorProto.FLOAT: "FLOAT",
    INT32: "INT32",
    INT64: "INT64",
    TensorProto.BOOL: "BOOL",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
}


@dataclass
class Fragment:
    """What one layer became.

    Attributes:
        outputs: what is known of them.
        nodes: in order.
        constants: by name.
    """

    outputs: list[Known]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)


class Assembly:
    """The network so far, layer by layer.

    Args:
        network: it.
        implicit: whether shapes leave out the batch.
        int64_shapes: whether shapes are INT64, as from version 10 on.
    """

    def __init__(self, network: Network, implicit: bool, int64_shapes: bool) -> None:
        self.network, self.implicit = network, implicit
        self.shape_type = INT64 if int64_shapes else INT32
        self.fragments: dict[int, Fragment] = {}
        self.numbers: dict[int, int] = {}

    def shape_of(self, tensor: Tensor) -> Dims:
        """Dimensions as the API has them."""
        one = self.known(tensor)
        return Dims(dim if isinstance(dim, int) else -1 for dim in one.dims[int(one.batched) :])

    def type_of(self, tensor: Tensor) -> Member:
        """``DataType`` of what a layer makes."""
        return member("DataType", _TYPES[self.known(tensor).dtype])

    def default_of(self, layer: Layer, name: str) -> Any:
        """The axis of a Softmax or Concatenation, the channels of a Scale: by the input."""
        rank = len(self.shape_of(layer.inputs[0]))
        axis = max(0, rank - 3)
        if layer.kind_name == "softmax":
            return 1 << axis
        return 0 if name == "num_elementwise_dims" else axis

    def known(self, tensor: Tensor) -> Known:
        """What is known of a tensor, from the layers before it; what has changed since is made again."""
        if self.network.stale:
            self.fragments.clear()
            self.network.stale = False
        if tensor.layer is None:
            return self._input(tensor)
        for layer in _ancestors(tensor.layer, self.fragments):
            self._emit(layer)
        return self.fragments[id(tensor.layer)].outputs[tensor.index]

    def _input(self, tensor: Tensor) -> Known:
        assert tensor.given_shape is not None
        assert tensor.given_type is not None
        dims: tuple[Dim, ...] = tuple(
            size if size >= 0 else tensor.dimension_names.get(axis) or _symbol(tensor.name, axis)
            for axis, size in enumerate(tensor.given_shape)
        )
        if tensor.given_type.name not in ELEMENT:
            raise Refused(
                f"input {tensor.name!r} has type {tensor.given_type.name}",
                "give it one of float32, int32, int8 or bool",
            )
        dtype = ELEMENT[tensor.given_type.name]
        if self.implicit and not tensor.broadcast_across_batch:
            dims = ("batch", *dims)
        return Known(
            f"in:{self.network.inputs.index(tensor)}", dims, dtype, self.implicit and not tensor.broadcast_across_batch
        )

    def _emit(self, layer: Layer) -> None:
        number = self.numbers.setdefault(id(layer), len(self.numbers))
        ins = [self._read(tensor) for tensor in layer.inputs]
        self.fragments[id(layer)] = self._made(layer, ins, f"layer:{number}")
        layer.asked()

    def _read(self, tensor: Tensor | None) -> Known | None:
        if tensor is None:
            return None
        return self._input(tensor) if tensor.layer is None else self.fragments[id(tensor.layer)].outputs[tensor.index]

    def _made(self, layer: Layer, ins: list[Known | None], prefix: str) -> Fragment:
        site = Site(layer, ins, prefix, self.shape_type)
        names = emit.emit(site)
        for index, dtype in layer.output_types.items():
            names[index] = emit.retyped(site, names[index], dtype)
        outputs = conclude(site, names, [f"{prefix}:{index}" for index in range(len(names))])
        return Fragment(outputs, site.nodes, site.constants)

    def model(self) -> onnx.ModelProto:
        """Everything that the outputs need, under the names that the script gave.

        Raises:
            Refused: a layer that is none of ONNX, or a network without outputs.
        """
        network = self.network
        if not network.outputs:
            raise Refused("the network has no outputs", "the script marks none: network.mark_output(tensor)")
        self.fragments.clear()
        needed = list(_needed(network.outputs))
        outputs = [self.known(tensor) for tensor in network.outputs]
        names = _Names(network, needed, self)
        graph = onnx.GraphProto(name="network")
        for tensor in network.inputs:
            one = self._input(tensor)
            graph.input.append(helper.make_tensor_value_info(tensor.name, one.dtype, list(one.dims)))
        for layer in needed:
            names.append_to(graph, self.fragments[id(layer)], layer)
        for tensor, one in zip(network.outputs, outputs, strict=True):
            names.finish(graph, tensor, one)
        _drop_unread(graph)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="trtconv")


class _Names:
    """From the names of fragments to the script's, each used once."""

    def __init__(self, network: Network, layers: Iterable[Layer], assembly: Assembly) -> None:
        self.taken: set[str] = set()
        self.final: dict[str, str] = {}
        self.outputs = {id(tensor): tensor.name for tensor in network.outputs}
        fixed = [tensor.name for tensor in (*network.inputs, *network.outputs)]
        twice = {name for name in fixed if fixed.count(name) > 1}
        if len(twice) > sum(tensor.layer is None for tensor in network.outputs):
            raise Refused(
                f"several inputs or outputs are called {sorted(twice)[0]!r}",
                "give each a name of its own in the script",
            )
        self.taken.update(fixed)
        for tensor in network.inputs:
            self.final[assembly._input(tensor).name] = tensor.name
        for layer in layers:
            for tensor, one in zip(layer.outputs, assembly.fragments[id(layer)].outputs, strict=True):
                self.final[one.name] = tensor.name if id(tensor) in self.outputs else self.once(tensor.name)

    def once(self, name: str) -> str:
        """A name that nothing else has."""
        found, number = name, 1
        while found in self.taken:
            found, number = f"{name}_{number}", number + 1
        self.taken.add(found)
        return found

    def append_to(self, graph: onnx.GraphProto, fragment: Fragment, layer: Layer) -> None:
        """The nodes and constants of a layer."""
        base = self.once(layer.name) if fragment.nodes else layer.name
        own = {name: self.once(f"{base}/{name.rpartition('/')[2]}") for name in fragment.constants}
        for name, array in fragment.constants.items():
            graph.initializer.append(numpy_helper.from_array(array, self.final.get(name, own[name])))
        last = len(fragment.nodes) - 1
        for position, node in enumerate(fragment.nodes):
            node.name = base if position == last else self.once(f"{base}/{node.op_type}")
            self._rename(node.input, own)
            self._rename(node.output, {name: f"{base}/{name.rpartition('/')[2]}" for name in node.output})
            graph.node.append(node)

    def _rename(self, names: Any, own: dict[str, str]) -> None:
        for position, name in enumerate(names):
            if name and name not in self.final:
                self.final[name] = own[name]
            names[position] = self.final.get(name, name)

    def finish(self, graph: onnx.GraphProto, tensor: Tensor, one: Known) -> None:
        """An output of the model; one that is an input or a constant too is copied to a name of its own."""
        inside = {name for node in graph.node for name in node.output}
        name = self.final[one.name]
        if name not in inside:
            out = tensor.name if tensor.layer is not None else self.once(f"{tensor.name}_output")
            if name == out:
                held = next(item for item in graph.initializer if item.name == out)
                held.name = name = self.once(f"{out}/value")
            graph.node.append(helper.make_node("Identity", [name], [out], f"{out}/Identity"))
            name = out
        graph.output.append(helper.make_tensor_value_info(name, one.dtype, list(one.dims)))


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Constants that only told an axis or a shape are not part of the model."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _needed(outputs: Iterable[Tensor]) -> Iterator[Layer]:
    """The layers that outputs depend on, inputs first."""
    seen: set[int] = set()
    for tensor in outputs:
        for layer in _ancestors(tensor.layer) if tensor.layer else ():
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer


def _ancestors(layer: Layer, known: Collection[int] = ()) -> Iterator[Layer]:
    """A layer after all that it depends on, but for those that are known.

    Raises:
        Refused: it depends on itself.
    """
    done = set(known)
    waiting, open_ = [layer], set[int]()
    while waiting:
        one = waiting[-1]
        before = [t.layer for t in one.inputs if t is not None and t.layer is not None and id(t.layer) not in done]
        if not before:
            waiting.pop()
            if id(one) not in done:
                done.add(id(one))
                yield one
            continue
        if id(one) in open_ and any(id(prior) in open_ for prior in before):
            raise Refused(f"{one.where}: layer {one.name!r} reads what is made from it", "undo the loop in the script")
        open_.add(id(one))
        waiting += before


def _symbol(name: str, axis: int) -> str:
    return "batch" if axis == 0 else f"{name}_dim{axis}"

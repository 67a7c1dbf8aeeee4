"""Which nodes of a model TensorRT's parser refuses, asked in a process of its own: on some graphs it crashes."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trtconv.adapters import tensorrt
from trtconv.core import child
from trtconv.core import protobuf_wire as wire
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import Emit
from trtconv.engines.build import mapped_model, messages

_REQUANTIZE = "convert the model before it was quantized, and use precision: int8"
_FALLBACK = "or let ONNX Runtime run it (build.fallback)"
_REMEDIES = {
    "NonMaxSuppression": f"end the model at boxes and scores (convert.outputs) and suppress on the host, {_FALLBACK}",
    "NonZero": f"its result has a size that depends on the data: replace the mask by a multiplication, {_FALLBACK}",
    "Loop": f"unroll the loop, fix the number of steps, {_FALLBACK}",
    "DynamicQuantizeLinear": _REQUANTIZE,
    "QuantizeLinear": _REQUANTIZE,
    "DequantizeLinear": _REQUANTIZE,
}
_NODE = f"end the model before it (convert.outputs), replace the layer that makes it, {_FALLBACK}"
_INPUT = "TensorRT takes float, float16, bfloat16, int64, int32, int8 and bool: cast in the program that feeds it"
_MODEL = "end the model earlier and earlier (convert.outputs) to find the node that it does not take"

NO_KERNEL: Mapping[str, frozenset[str]] = {"rtx": frozenset({"NonMaxSuppression"})}
"""Operators that a flavour's parser takes and its builder has no kernel for."""


@dataclass(frozen=True)
class Refusal:
    """What TensorRT does not take.

    Attributes:
        node: ONNX name of the node; empty when it is the model as a whole.
        op: its operator.
        why: TensorRT's reason, in words.
        remedy: what to do.
    """

    node: str
    op: str
    why: str
    remedy: str = _MODEL


@dataclass(frozen=True)
class Verdict:
    """The parser's answer.

    Attributes:
        asked: title and version of the TensorRT asked; empty when none is installed.
        refusals: empty when it takes the model.
    """

    asked: str = ""
    refusals: tuple[Refusal, ...] = ()


def verdict(model: Path, log: Path) -> Verdict:
    """Ask the TensorRT that would build the model. A crash of the parser is an answer too.

    Args:
        model: ONNX file.
        log: for what the parser prints.
    """
    if all(found.problem for found in tensorrt.probe()):
        return Verdict()
    try:
        answer: Verdict = child.call("trtconv.engines.build.support:parse", model, lambda _: None, log).value
    except EnvironmentProblem:
        return Verdict()
    except child.ChildCrash:
        return Verdict("TensorRT", (Refusal("", "", "its parser crashes on this model"),))
    return answer


def parse(model: Path, _emit: Emit) -> Verdict:
    """Parse a model and collect what is refused.

    Raises:
        EnvironmentProblem: no TensorRT can be used here.
    """
    loaded = tensorrt.choose("auto")
    log, logger = messages.listen(loaded)
    builder = loaded.api.Builder(logger)
    network = builder.create_network(1 << int(loaded.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        return Verdict()
    parsed = mapped_model.parse(loaded, network, logger, model)
    errors = [parsed.parser.get_error(index) for index in range(parsed.parser.num_errors)]
    found = {(e.node_name(), e.node_operator()): messages.parser_error(e) for e in errors}
    said = messages.errors(log.take())
    refusals = tuple(_refusal(node, op, why) for (node, op), why in found.items())
    if not parsed.done and not refusals:
        refusals = (_refusal("", "", "; ".join(said) or "no reason given"),)
    return Verdict(loaded.title, (*refusals, *_without_kernel(model, loaded)))


def _without_kernel(model: Path, loaded: tensorrt.Loaded) -> Iterator[Refusal]:
    """Nodes that only the builder would refuse."""
    missing = NO_KERNEL.get(loaded.flavor.name, frozenset())
    for name, op in _nodes(model) if missing else ():
        if op in missing:
            yield _refusal(name, op, f"node {name!r} ({op}): {loaded.flavor.title} parses it and has no kernel for it")


def _nodes(model: Path) -> Iterator[tuple[str, str]]:
    """Name and operator of every node: ModelProto.graph is field 7, GraphProto.node 1, NodeProto.name 3, op_type 4."""
    with model.open("rb") as handle:
        data = memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    graphs = [part for part in wire.fields(data) if part.number == 7]
    nodes = [part for graph in graphs for part in wire.fields(data, graph.start, graph.end) if part.number == 1]
    for node in nodes:
        texts = {part.number: part for part in wire.fields(data, node.start, node.end) if part.number in (3, 4)}
        yield wire.text(data, texts[3]) if 3 in texts else "", wire.text(data, texts[4])


def _refusal(node: str, op: str, why: str) -> Refusal:
    if re.search(messages.OPEN_SIZE, why):
        return Refusal(node, op, why, messages.SAY_SIZE)
    return Refusal(node, op, why, _REMEDIES.get(op, _NODE if op else _INPUT if why.startswith("input ") else _MODEL))

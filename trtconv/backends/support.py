"""Which nodes of a model TensorRT's parser refuses, asked in a process of its own: on some graphs it crashes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtconv.adapters import tensorrt
from trtconv.backends import messages
from trtconv.core import child
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import Emit

_REMEDIES = {
    "NonMaxSuppression": "end the model at boxes and scores (convert.outputs), and suppress on the host",
    "NonZero": "its result has a size that depends on the data; replace the mask by a multiplication",
    "Loop": "unroll the loop, or fix the number of steps",
    "DynamicQuantizeLinear": "convert the model before it was quantized, and use precision: int8",
}


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
    remedy: str = "end the model before it (convert.outputs), or replace the layer that makes it"


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
        answer: Verdict = child.call("trtconv.backends.support:parse", model, lambda _: None, log).value
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
    parser = loaded.api.OnnxParser(network, logger)
    done = parser.parse_from_file(str(model))
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    found = {(e.node_name(), e.node_operator()): messages.parser_error(e) for e in errors}
    said = messages.errors(log.take())
    refusals = tuple(_refusal(node, op, why) for (node, op), why in found.items())
    if not done and not refusals:
        refusals = (_refusal("", "", "; ".join(said) or "no reason given"),)
    return Verdict(loaded.title, refusals)


def _refusal(node: str, op: str, why: str) -> Refusal:
    return Refusal(node, op, why, _REMEDIES[op]) if op in _REMEDIES else Refusal(node, op, why)

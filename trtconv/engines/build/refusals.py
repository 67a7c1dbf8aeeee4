"""Which nodes of a model TensorRT cannot take, asked node by node in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.adapters import tensorrt
from trtconv.adapters.tensorrt import Loaded
from trtconv.core import child, unfinished
from trtconv.core.errors import BuildError
from trtconv.core.events import ignore
from trtconv.core.records import PluginSpec
from trtconv.engines.build import messages, plugins
from trtconv.engines.build.support import NO_KERNEL
from trtconv.engines.plan import dtypes
from trtconv.graph import check, editing, model_io
from trtconv.graph.partition import Reason

_HINT = "docs/custom_layers.md has a plugin in Python and one in C++"


@dataclass(frozen=True)
class Question:
    """What to ask, and whom."""

    flavor: str
    models: tuple[Path, ...]
    plugins: tuple[PluginSpec, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a TensorRT says of a model.

    Attributes:
        refused: why it does not take nodes of the main graph, by name.
        operators: what each plugin is for, in the order of the plugins.
        doubts: about plugins, in sentences.
    """

    refused: Mapping[str, Reason]
    operators: tuple[frozenset[str], ...] = ()
    doubts: tuple[str, ...] = ()


Made = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type and shape of the outputs of a model, by name."""


def asked(loaded: Loaded, model: Path, brought: tuple[PluginSpec, ...] = ()) -> Verdict:
    """Nodes of the main graph that the parser or, as far as known, the builder refuses; by name.

    The parser's own groups are cut in the order of the file, not along the data, so only its verdict on each node
    counts. What fails while nodes are imported it tells up to the first such node: a build of the part tells the next.

    Args:
        loaded: that would build it.
        model: a file whose nodes have names of their own.
        brought: plugins that take nodes too.

    Raises:
        BuildError: the parser takes its process down; nodes do not fit the plugin of their name.
    """
    try:
        found: Verdict = _call("ask", Question(loaded.flavor.name, (model,), brought))
    except child.ChildCrash as crash:
        hint = (
            "another version of TensorRT may take it; convert.outputs ends the model before the node that it does not"
        )
        raise BuildError(f"{model}: the parser of {loaded.title} crashes on it", hint=hint) from crash
    return found


def shape_inputs(loaded: Loaded, model: Path, brought: tuple[PluginSpec, ...] = ()) -> tuple[str, ...]:
    """Inputs of a model whose values decide shapes, as TensorRT sees it; none where it does not parse."""
    try:
        found: tuple[str, ...] = _call("ask_inputs", Question(loaded.flavor.name, (model,), brought))
    except child.ChildCrash:
        return ()
    return found


def made(loaded: Loaded, models: tuple[Path, ...], brought: tuple[PluginSpec, ...]) -> list[Made]:
    """What models give whose inputs have one size each.

    Raises:
        BuildError: TensorRT does not parse one of them.
    """
    found: list[Made] = _call("ask_outputs", Question(loaded.flavor.name, models, brought))
    return found


def _call(function: str, question: Question) -> Any:
    with unfinished.scratch() as folder:
        return child.call(f"{__name__}:{function}", question, ignore, folder / "log").value


def ask(question: Question, _emit: Any) -> Verdict:
    """The child's side of ``asked``."""
    (path,), loaded = question.models, tensorrt.load(question.flavor)
    brought, outline = plugins.load(loaded, question.plugins), model_io.load(path, weights=False)
    doubts = plugins.match(loaded, outline, brought) if brought else []
    parser, _network, _kept = _parser(loaded)
    parser.supports_model_v2(path.read_bytes(), str(path))
    taken = {index for group in range(parser.num_subgraphs) for index in parser.get_subgraph_nodes(group)}
    told: dict[int, str] = {}
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        told.setdefault(error.node(), messages.parser_error(error))
    nodes, mistaken = outline.graph.node, check.mistaken(outline, tensorrt.PLUGIN_OPERATORS if brought else ())
    missing = NO_KERNEL.get(loaded.flavor.name, frozenset())
    found: dict[str, Reason] = {}
    for index, node in enumerate(nodes):
        if node.op_type in missing:
            found[node.name] = Reason("kernel", f"{loaded.flavor.title} parses {node.op_type} and has no kernel for it")
        elif editing.label(node) in mistaken:
            found[node.name] = Reason("parser", mistaken[editing.label(node)])
        elif index not in taken:
            found[node.name] = Reason("parser", told.get(index, f"{loaded.title} does not take {node.op_type} here"))
    operators = tuple(frozenset(name for name, _, _ in one.creators) for one in brought)
    return Verdict(found, operators, tuple(doubts))


def ask_inputs(question: Question, _emit: Any) -> tuple[str, ...]:
    """The child's side of ``shape_inputs``."""
    (path,), loaded = question.models, tensorrt.load(question.flavor)
    plugins.load(loaded, question.plugins)
    parser, network, _kept = _parser(loaded)
    if not parser.parse_from_file(str(path)):
        return ()
    inputs = map(network.get_input, range(network.num_inputs))
    return tuple(tensor.name for tensor in inputs if tensor.is_shape_tensor)


def ask_outputs(question: Question, _emit: Any) -> list[Made]:
    """The child's side of ``made``."""
    loaded, found = tensorrt.load(question.flavor), list[Made]()
    plugins.load(loaded, question.plugins)
    for path in question.models:
        parser, network, _kept = _parser(loaded)
        if not parser.parse_from_file(str(path)):
            said = "; ".join(messages.parser_error(parser.get_error(index)) for index in range(parser.num_errors))
            node = model_io.load(path, weights=False).graph.node[0]
            raise BuildError(f"node {editing.label(node)!r} alone: {loaded.title} cannot parse it: {said}", hint=_HINT)
        outputs = map(network.get_output, range(network.num_outputs))
        found.append({one.name: (dtypes.onnx_name(one.dtype), tuple(one.shape)) for one in outputs})
    return found


def _parser(loaded: Loaded) -> tuple[Any, Any, Mapping[str, Any]]:
    """A parser, its network, and what must live as long as they."""
    log, logger = messages.listen(loaded)
    builder = loaded.api.Builder(logger)
    network = builder.create_network(1 << int(loaded.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise BuildError(
            f"{loaded.title} gives no network: {'; '.join(messages.errors(log.take()))}", hint="trtconv doctor"
        )
    return loaded.api.OnnxParser(network, logger), network, {"logger": logger, "builder": builder}

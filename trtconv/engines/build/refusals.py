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
from trtconv.graph import check, editing, model_io
from trtconv.graph.partition import Reason


@dataclass(frozen=True)
class Question:
    """What to ask, and whom."""

    flavor: str
    model: Path
    plugins: tuple[PluginSpec, ...] = ()


def refused(loaded: Loaded, model: Path, brought: tuple[PluginSpec, ...] = ()) -> dict[str, Reason]:
    """Nodes of the main graph that the parser or, as far as known, the builder refuses; by name.

    The parser's own groups are cut in the order of the file, not along the data, so only its verdict on each node
    counts. What fails while nodes are imported it tells up to the first such node: a build of the part tells the next.

    Args:
        loaded: that would build it.
        model: a file whose nodes have names of their own.
        brought: plugins that take nodes too.

    Raises:
        BuildError: the parser takes its process down.
    """
    try:
        found: dict[str, Reason] = _call("ask", Question(loaded.flavor.name, model, brought))
    except child.ChildCrash as crash:
        hint = (
            "another version of TensorRT may take it; convert.outputs ends the model before the node that it does not"
        )
        raise BuildError(f"{model}: the parser of {loaded.title} crashes on it", hint=hint) from crash
    return found


def shape_inputs(loaded: Loaded, model: Path, brought: tuple[PluginSpec, ...] = ()) -> tuple[str, ...]:
    """Inputs of a model whose values decide shapes, as TensorRT sees it; none where it does not parse."""
    try:
        found: tuple[str, ...] = _call("ask_inputs", Question(loaded.flavor.name, model, brought))
    except child.ChildCrash:
        return ()
    return found


def _call(function: str, question: Question) -> Any:
    with unfinished.scratch() as folder:
        return child.call(f"{__name__}:{function}", question, ignore, folder / "log").value


def ask(question: Question, _emit: Any) -> dict[str, Reason]:
    """The child's side of ``refused``."""
    loaded, parser, _network, _kept = _parser(question)
    parser.supports_model_v2(question.model.read_bytes(), str(question.model))
    taken = {index for group in range(parser.num_subgraphs) for index in parser.get_subgraph_nodes(group)}
    told: dict[int, str] = {}
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        told.setdefault(error.node(), messages.parser_error(error))
    outline = model_io.load(question.model, weights=False)
    nodes, mistaken = outline.graph.node, check.mistaken(outline)
    missing = NO_KERNEL.get(loaded.flavor.name, frozenset())
    found: dict[str, Reason] = {}
    for index, node in enumerate(nodes):
        if node.op_type in missing:
            found[node.name] = Reason("kernel", f"{loaded.flavor.title} parses {node.op_type} and has no kernel for it")
        elif editing.label(node) in mistaken:
            found[node.name] = Reason("parser", mistaken[editing.label(node)])
        elif index not in taken:
            found[node.name] = Reason("parser", told.get(index, f"{loaded.title} does not take {node.op_type} here"))
    return found


def ask_inputs(question: Question, _emit: Any) -> tuple[str, ...]:
    """The child's side of ``shape_inputs``."""
    _, parser, network, _kept = _parser(question)
    if not parser.parse_from_file(str(question.model)):
        return ()
    inputs = map(network.get_input, range(network.num_inputs))
    return tuple(tensor.name for tensor in inputs if tensor.is_shape_tensor)


def _parser(question: Question) -> tuple[Loaded, Any, Any, Mapping[str, Any]]:
    """A parser with what must live as long as it."""
    loaded = tensorrt.load(question.flavor)
    plugins.load(loaded, question.plugins)
    log, logger = messages.listen(loaded)
    builder = loaded.api.Builder(logger)
    network = builder.create_network(1 << int(loaded.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise BuildError(
            f"{loaded.title} gives no network: {'; '.join(messages.errors(log.take()))}", hint="trtconv doctor"
        )
    parser = loaded.api.OnnxParser(network, logger)
    return loaded, parser, network, {"logger": logger, "builder": builder}

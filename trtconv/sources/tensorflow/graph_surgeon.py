"""A graph that a user's ``preprocess(graph)`` can change: the part of graphsurgeon's DynamicGraph that scripts use."""

from __future__ import annotations

import runpy
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.adapters import tensorflow
from trtconv.core.errors import SourceError, UsageError
from trtconv.core.events import Emit
from trtconv.sources.tensorflow import frozen_graph as frozen_files
from trtconv.sources.tensorflow import graph_reader, graphdef
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph


@dataclass(frozen=True)
class Request:
    """What to change: the graph, the user's file, and the graph to write."""

    graph: Path
    script: Path
    target: Path


def preprocess(request: Request, _emit: Emit) -> None:
    """Run the user's ``preprocess(graph)`` and write the graph that it leaves.

    Raises:
        SourceError: the graph cannot be read.
        UsageError: the file has no such function, or it fails.
    """
    tensorflow.load()
    native, weights = graphdef.parse(request.graph)
    graph = DynamicGraph(native)
    sys.modules.setdefault("graphsurgeon", _module())
    try:
        function = runpy.run_path(str(request.script)).get("preprocess")
        if function is None:
            raise UsageError(f"{request.script}: defines no preprocess(graph)", hint="define it; it changes the graph")
        function(graph)
    except (SourceError, UsageError):
        raise
    except Exception as error:
        raise UsageError(
            f"{request.script}: {type(error).__name__}: {error}",
            hint="trtconv has the methods find_nodes_by_*, remove, forward_inputs, append, extend and "
            "collapse_namespaces of graphsurgeon's DynamicGraph",
        ) from error
    kept = {node.name for node in native.node}
    whole = FrozenGraph(native, (), (), weights={name: w for name, w in weights.items() if name in kept})
    frozen_files.write(whole, request.target)
    frozen_files.sidecar(request.target).unlink()  # nobody has named its inputs and outputs


class DynamicGraph:
    """Nodes by name, and ways to take some out. Nodes are TensorFlow's NodeDef."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def __iter__(self) -> Any:
        return iter(self._native.node)

    @property
    def node_map(self) -> dict[str, Any]:
        """Nodes by name."""
        return {node.name: node for node in self._native.node}

    @property
    def graph_inputs(self) -> list[Any]:
        """Placeholders."""
        return self.find_nodes_by_op("Placeholder")

    @property
    def graph_outputs(self) -> list[Any]:
        """Nodes that no other reads."""
        read = {graph_reader.node_of(name) for node in self._native.node for name in node.input}
        return [node for node in self._native.node if node.name not in read]

    def as_graph_def(self) -> Any:
        """The GraphDef itself."""
        return self._native

    def find_nodes_by_op(self, op: str | Iterable[str]) -> list[Any]:
        """Nodes of one or several operators."""
        wanted = {op} if isinstance(op, str) else set(op)
        return [node for node in self._native.node if node.op in wanted]

    def find_nodes_by_name(self, name: str | Iterable[str]) -> list[Any]:
        """Nodes of one or several names."""
        wanted = {name} if isinstance(name, str) else set(name)
        return [node for node in self._native.node if node.name in wanted]

    def find_nodes_by_path(self, path: str | Iterable[str]) -> list[Any]:
        """Nodes in one or several namespaces."""
        starts = (path,) if isinstance(path, str) else tuple(path)
        folders = tuple(start.rstrip("/") + "/" for start in starts)
        return [node for node in self._native.node if node.name in starts or node.name.startswith(folders)]

    def append(self, node: Any) -> None:
        """Add a node."""
        self._native.node.append(node)

    def extend(self, nodes: Iterable[Any]) -> None:
        """Add nodes."""
        self._native.node.extend(nodes)

    def remove(self, nodes: Any, remove_exclusive_dependencies: bool = False) -> None:
        """Take nodes out; what read them reads nothing in their place."""
        gone = {node.name for node in _listed(nodes)}
        if remove_exclusive_dependencies:
            gone |= self._only_for(gone)
        for node in self._native.node:
            kept = [name for name in node.input if graph_reader.node_of(name) not in gone]
            del node.input[:]
            node.input.extend(kept)
        self._drop(gone)

    def forward_inputs(self, nodes: Any) -> None:
        """Take nodes out; what read them reads their inputs instead."""
        for target in _listed(nodes):
            passed = list(target.input)
            for node in self._native.node:
                names = [
                    new
                    for name in node.input
                    for new in (passed if graph_reader.node_of(name) == target.name else [name])
                ]
                del node.input[:]
                node.input.extend(names)
            self._drop({target.name})

    def collapse_namespaces(self, namespaces: Mapping[str, Any], **_options: Any) -> None:
        """Put one node in the place of all nodes of a namespace; it reads what they read from outside."""
        for path, replacement in namespaces.items():
            inside = {node.name for node in self.find_nodes_by_path(path)}
            outside = [
                name
                for node in self._native.node
                if node.name in inside
                for name in node.input
                if graph_reader.node_of(name) not in inside
            ]
            for node in self._native.node:
                names = [replacement.name if graph_reader.node_of(n) in inside else n for n in node.input]
                del node.input[:]
                node.input.extend(dict.fromkeys(names))
            self._drop(inside)
            own = type(replacement)()
            own.CopyFrom(replacement)
            own.input.extend(name for name in dict.fromkeys(outside) if name not in own.input)
            self._native.node.append(own)

    def _only_for(self, gone: set[str]) -> set[str]:
        """Nodes that nothing but these needs."""
        found: set[str] = set()
        nodes = self.node_map
        while True:
            read = {graph_reader.node_of(i) for n in nodes.values() if n.name not in gone | found for i in n.input}
            more = {graph_reader.node_of(i) for name in gone | found if name in nodes for i in nodes[name].input}
            more -= read | gone | found
            if not more:
                return found
            found |= more

    def _drop(self, gone: set[str]) -> None:
        kept = [node for node in self._native.node if node.name not in gone]
        copies = [type(node).FromString(node.SerializeToString()) for node in kept]
        del self._native.node[:]
        self._native.node.extend(copies)


def _listed(nodes: Any) -> list[Any]:
    return list(nodes) if isinstance(nodes, list | tuple | set) else [nodes]


def _module() -> types.ModuleType:
    """What ``import graphsurgeon as gs`` gives a script."""
    module = types.ModuleType("graphsurgeon")
    module.DynamicGraph = module.StaticGraph = DynamicGraph  # type: ignore[attr-defined]
    module.create_node = _create_node  # type: ignore[attr-defined]
    module.create_plugin_node = _create_node  # type: ignore[attr-defined]
    return module


def _create_node(name: str, op: str | None = None, **attributes: Any) -> Any:
    """A node; ``inputs``, ``dtype`` and ``shape`` are set, attributes of plugins mean nothing outside of UFF."""
    import tensorflow as native

    node = native.compat.v1.NodeDef(name=name, op=op or name)
    node.input.extend(attributes.get("inputs", ()))
    if "dtype" in attributes:
        node.attr["dtype"].type = native.as_dtype(attributes["dtype"]).as_datatype_enum
    if "shape" in attributes:
        node.attr["shape"].shape.CopyFrom(native.TensorShape(list(attributes["shape"])).as_proto())
    return node

"""Graphs with a session: TensorFlow 1 checkpoints, and SavedModels whose objects cannot be restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.adapters import tensorflow
from trtconv.core.errors import SourceError
from trtconv.core.records import SourceSpec, TensorInfo
from trtconv.sources.tensorflow import endpoints, graph_edits, graphdef
from trtconv.sources.tensorflow.frozen_graph import Endpoint, FrozenGraph, apart, public_dims, refuse_unfeedable
from trtconv.sources.tensorflow.graph_reader import dtype_name


class SessionNetwork:
    """A graph whose variables live in a session.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise, where the graph says it.
    """

    def __init__(
        self,
        session: Any,
        inputs: Sequence[Endpoint],
        outputs: Sequence[Endpoint],
        spec: SourceSpec,
        format: str,  # noqa: A002 - a record's field
        signature: str = "",
    ) -> None:
        self._session, self._inputs, self._outputs, self._spec = session, tuple(inputs), tuple(outputs), spec
        self._format, self._signature = format, signature
        refuse_unfeedable(e for e in self._inputs if e.shape is not None)
        self.inputs: tuple[TensorInfo, ...] = tuple(e.info for e in self._inputs)
        self.outputs: tuple[TensorInfo, ...] = tuple(e.info for e in self._outputs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        wanted = {e.name: e.tensor for e in self._outputs}
        given: dict[str, Any] = {e.tensor: feeds[e.name] for e in self._inputs}
        given |= {f"{name}:0": value for name, value in self._spec.constants}
        values: dict[str, np.ndarray] = self._session.run(wanted, given)
        return values

    def framework(self) -> str:
        """TensorFlow and its version."""
        return tensorflow.framework()

    def freeze(self) -> FrozenGraph:
        """The graph with constants for the variables that its outputs need.

        Raises:
            SourceError: it changes variables, or needs a lookup table.
        """
        native = tensorflow.load()
        whole = self._session.graph.as_graph_def()
        names = [e.node for e in (*self._outputs, *self._inputs)]
        for node in whole.node:
            if node.name in {e.node for e in self._inputs} and not node.op.startswith("Placeholder"):
                names.remove(node.name)  # what feeds a node that becomes an input may be anything
        graph = native.compat.v1.graph_util.convert_variables_to_constants(self._session, whole, names)
        graph_edits.fix_constants(graph, self._spec.constants, self._spec.path)
        if any(node.op.endswith("PartitionedCall") for node in graph.node):
            graph = _inlined(native, graph, [e.tensor for e in (*self._outputs, *self._inputs)])
        if self._spec.cuts:
            graph_edits.cut(graph, self._spec.cuts, self._spec.path)
        graph_edits.drop_idle_dropout(graph)
        graph = graphdef.prune(graph, self._inputs, self._outputs)
        graphdef.refuse_state(graph, {e.node for e in self._inputs})
        return FrozenGraph(
            graph=graph, inputs=self._inputs, outputs=self._outputs, format=self._format, signature=self._signature
        )


def _inlined(native: Any, graph_def: Any, kept: Sequence[str]) -> Any:
    """A graph whose calls of functions are replaced by what the functions do; tensors in ``kept`` stay."""
    from tensorflow.core.protobuf import rewriter_config_pb2
    from tensorflow.python.grappler import tf_optimizer

    with native.Graph().as_default() as graph:
        native.import_graph_def(graph_def, name="")
    whole = native.compat.v1.train.export_meta_graph(graph_def=graph_def, graph=graph)
    whole.collection_def["train_op"].node_list.value.extend(kept)
    config = native.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.optimizers.append("function")
    options.function_optimization = rewriter_config_pb2.RewriterConfig.AGGRESSIVE
    return tf_optimizer.OptimizeGraph(config, whole)


def open_checkpoint(spec: SourceSpec, prefix: Path) -> SessionNetwork:
    """The graph of a ``.meta`` file with the variables of its checkpoint.

    Args:
        spec: outputs, cuts and constants count.
        prefix: the common start of the files' names.

    Raises:
        SourceError: damaged files, an operator of foreign code, unknown or undecided outputs.
    """
    native = tensorflow.load()
    v1 = native.compat.v1
    v1.disable_eager_execution()
    with native.Graph().as_default() as graph:
        session = v1.Session(graph=graph)
        try:
            v1.train.import_meta_graph(f"{prefix}.meta", clear_devices=True).restore(session, str(prefix))
        except Exception as error:
            raise SourceError(
                f"{prefix}: TensorFlow cannot restore this checkpoint: {tensorflow.reason(error)}",
                hint="copy all its files again: .meta, .index and .data",
            ) from error
    whole = graph.as_graph_def()
    constants = {name for name, _ in spec.constants}
    graph_edits.fix_constants(type(whole).FromString(whole.SerializeToString()), spec.constants, spec.path)
    inputs, outputs = endpoints.interface(whole, spec, several=False)
    return SessionNetwork(session, [e for e in inputs if e.name not in constants], outputs, spec, "checkpoint")


def open_saved_model(path: Path, name: str, signature: Any, tags: Sequence[str], why: str) -> SessionNetwork:
    """A signature of a SavedModel through TensorFlow 1's loader, which restores variables and no objects.

    Args:
        path: its folder.
        name: of the signature.
        signature: its SignatureDef.
        tags: of the part that is meant.
        why: TensorFlow's reason for not restoring the objects.

    Raises:
        SourceError: that loader cannot read it either.
    """
    native = tensorflow.load()
    with native.Graph().as_default() as graph:
        session = native.compat.v1.Session(graph=graph)
        try:
            native.compat.v1.saved_model.loader.load(session, list(tags), str(path))
        except Exception as error:
            raise SourceError(
                f"{path}: TensorFlow cannot load this SavedModel: {why}",
                hint="copy the whole folder again, variables/ included",
            ) from error
    inputs = [_endpoint(key, info) for key, info in sorted(signature.inputs.items())]
    taken = [e.name for e in inputs]
    names = apart(sorted(signature.outputs), taken)
    outputs = [_endpoint(n, signature.outputs[k]) for n, k in zip(names, sorted(signature.outputs), strict=True)]
    return SessionNetwork(session, inputs, outputs, SourceSpec(path), "saved_model", name)


def _endpoint(name: str, info: Any) -> Endpoint:
    shape = None if info.tensor_shape.unknown_rank else public_dims(name, [dim.size for dim in info.tensor_shape.dim])
    return Endpoint(name, info.name, dtype_name(info.dtype), shape)

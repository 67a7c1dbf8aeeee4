"""Trained models in TensorFlow and Keras: opened, run and frozen. One model per process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.adapters import tensorflow
from trtconv.core.errors import MissingPackage, SourceError
from trtconv.core.names import choice
from trtconv.core.records import TensorInfo
from trtconv.sources.tensorflow import freezing, graph_reader, graphdef
from trtconv.sources.tensorflow.frozen_graph import Endpoint, FrozenGraph, apart, public_dims, refuse_unfeedable

_INTERNAL_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")


class Network:
    """One function of a model with named inputs and outputs.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.
    """

    def __init__(
        self,
        function: Any,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        keywords: bool,
        owner: Any,
        format: str,  # noqa: A002 - a record's field
        signature: str = "",
    ) -> None:
        self._function = function
        self._keywords = keywords
        self._owner = owner  # variables die with the object that was loaded
        self._format, self._signature = format, signature
        tensors = function.inputs[: len(inputs)]
        self._inputs = tuple(_endpoint(name, tensor) for name, tensor in zip(inputs, tensors, strict=True))
        names = apart(outputs, inputs)
        self._outputs = tuple(_endpoint(n, tensor) for n, tensor in zip(names, function.outputs, strict=True))
        refuse_unfeedable(self._inputs)
        self.inputs: tuple[TensorInfo, ...] = tuple(e.info for e in self._inputs)
        self.outputs: tuple[TensorInfo, ...] = tuple(e.info for e in self._outputs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        tf = tensorflow.load()
        values = [tf.constant(feeds[info.name]) for info in self.inputs]
        if self._keywords:
            result = self._function(**dict(zip((e.name for e in self._inputs), values, strict=True)))
        else:
            result = self._function(*values)
        flat = tf.nest.flatten(result)
        return {info.name: value.numpy() for info, value in zip(self.outputs, flat, strict=True)}

    def framework(self) -> str:
        """TensorFlow and its version."""
        return tensorflow.framework()

    def freeze(self) -> FrozenGraph:
        """The function as a graph whose variables are constants.

        Raises:
            SourceError: it changes variables, or needs a lookup table.
        """
        graph, weights = freezing.frozen(self._function)
        whole, graph = graph, graphdef.prune(graph, self._inputs, self._outputs)
        graphdef.refuse_state(whole, {e.node for e in self._inputs}, {node.name for node in graph.node})
        return FrozenGraph(
            graph=graph,
            inputs=self._inputs,
            outputs=self._outputs,
            format=self._format,
            signature=self._signature,
            weights=weights,
        )


class GraphNetwork:
    """A frozen graph with named inputs and outputs.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: names; dtype and shape where the graph says them.
    """

    def __init__(self, frozen: FrozenGraph) -> None:
        self._frozen = frozen
        self.inputs: tuple[TensorInfo, ...] = tuple(e.info for e in frozen.inputs)
        self.outputs: tuple[TensorInfo, ...] = tuple(e.info for e in frozen.outputs)
        self._session: Any = None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        self._session = self._session or _session(self._frozen)
        wanted = {e.name: e.tensor for e in self._frozen.outputs}
        values: dict[str, np.ndarray] = self._session.run(
            wanted, {e.tensor: feeds[e.name] for e in self._frozen.inputs}
        )
        return values

    def freeze(self) -> FrozenGraph:
        """The graph itself."""
        return self._frozen

    def framework(self) -> str:
        """TensorFlow and its version."""
        return tensorflow.framework()


def open_saved_model(path: Path, signature: str = "", tags: Sequence[str] = ()) -> Any:
    """A signature of a SavedModel; one whose objects cannot be restored is read as a graph.

    Args:
        path: its folder.
        signature: empty: ``serving_default``, or the only one.
        tags: empty: ``serve``, or the only tag set.

    Raises:
        SourceError: damaged files, unknown tags or signature.
    """
    tf = tensorflow.load()
    chosen, offered = _meta_graph(path, tags)
    name = _signature(path, signature, offered)
    try:
        loaded = tf.saved_model.load(str(path), tags=list(chosen))
    except Exception as error:  # noqa: BLE001 - objects of foreign code, optimizers: the graph alone may still do
        from trtconv.sources.tensorflow import sessions

        return sessions.open_saved_model(path, name, offered[name], chosen, tensorflow.reason(error))
    function = loaded.signatures[name]
    variables = _alone(function)
    inputs = list(_flat_names(function.structured_input_signature[1]))
    return Network(
        function,
        inputs,
        list(_flat_names(function.structured_outputs)),
        keywords=True,
        owner=variables or loaded,
        format="saved_model",
        signature=name,
    )


def _alone(function: Any) -> list[Any]:
    """The variables of a function that needs nothing else of the object that it came with; else none.

    Keras exports every variable twice, and only one of them is used: the others can go.
    """
    variables = list(function.variables)
    known = {id(variable.handle) for variable in variables}
    return variables if all(id(tensor) in known for tensor in function.captured_inputs) else []


def open_keras(
    path: Path, generation: str, *, allow_code: bool = False, shapes: Mapping[str, Sequence[Any]] | None = None
) -> Network:
    """A Keras model in inference mode.

    Args:
        path: ``.keras`` or ``.h5`` file.
        generation: the version of Keras that wrote it; 2 is read through tf_keras.
        allow_code: whether Lambda layers may run.
        shapes: of inputs, by name; others are traced as they are.

    Raises:
        SourceError: damaged file, unknown layers, code that is not allowed, a model without defined inputs, or one that
            cannot be traced at these shapes.
    """
    tf = tensorflow.load()
    keras = _keras(generation)
    try:
        model = keras.models.load_model(str(path), compile=False, safe_mode=not allow_code)
    except Exception as error:
        raise _unloadable(path, error) from error
    if not getattr(model, "inputs", None):
        raise SourceError(
            f"{path}: the model's inputs are not defined in the file",
            hint="call it on data, save it with model.export(folder), give that folder",
        )
    inputs = [tensor.name.partition(":")[0] for tensor in model.inputs]
    given = {
        name: [d if isinstance(d, int) and d >= 0 else None for d in dims] for name, dims in (shapes or {}).items()
    }
    specs = [tf.TensorSpec(given.get(n, t.shape), t.dtype, n) for t, n in zip(model.inputs, inputs, strict=True)]
    structure = _structure(model, "_inputs_struct", "_nested_inputs", model.inputs)

    def call(*values: Any) -> Any:
        packed = tf.nest.pack_sequence_as(structure, values)
        return tf.nest.flatten(model(packed, training=False))

    try:
        function = tf.function(call).get_concrete_function(*specs)
    except Exception as error:
        raise _untraceable(path, specs, error) from error
    return Network(function, inputs, _output_names(model), keywords=False, owner=model, format="keras")


def _keras(generation: str) -> Any:
    if not generation.startswith("2."):
        import keras

        return keras
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    try:
        import tf_keras
    except ModuleNotFoundError:
        raise MissingPackage("tf_keras", "tf", f"reading a model of Keras {generation}") from None
    return tf_keras


def _untraceable(path: Path, specs: Sequence[Any], error: Exception) -> SourceError:
    """Keras's layers decide some things in Python, and cannot where a size is open."""
    open_ends = [spec for spec in specs if spec.shape.rank is None or None in spec.shape.as_list()]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{path}: Keras cannot trace this model at its shapes: {' '.join(lines[-2:])[-300:]}"
    if not open_ends:
        return SourceError(said, hint="give other shapes with --input, or save it with model.export(folder)")
    rank = open_ends[0].shape.rank
    sizes = ["1", *["224"] * (rank - 2), str(open_ends[0].shape[-1] or 3)] if rank and rank > 1 else ["1"]
    example = f"{open_ends[0].name}:{','.join(sizes)}"
    return SourceError(said, hint=f"give the sizes that are open, such as --input {example} (inputs in a job)")


_MISSING = re.compile(
    r"registered_name': '([^']+)'|[Cc]ould not locate class '([^']+)'|[Uu]nknown layer: '?([^'\\s]+)'?"
)


def _unloadable(path: Path, error: Exception) -> SourceError:
    text = tensorflow.reason(error)
    missing = [name for found in _MISSING.findall(str(error)) for name in found if name]
    if "lambda" in text.lower() and "safe" in text.lower():
        return SourceError(
            f"{path}: the model holds Python code in a Lambda layer",
            hint="if you trust its origin, allow it with --allow-code",
        )
    if "locate class" in str(error).lower() or "unknown layer" in str(error).lower():
        names = ", ".join(dict.fromkeys(sorted(missing, key=lambda name: ">" not in name)[:1])) or text
        return SourceError(
            f"{path}: the model needs code that is not in the file: {names}",
            hint="save it with model.export(folder) where that code is, give that folder",
        )
    return SourceError(
        f"{path}: Keras cannot load this model: {text}",
        hint="save it again, or with model.export(folder) and give that folder",
    )


def _structure(model: Any, keras_3: str, keras_2: str, flat: Sequence[Any]) -> Any:
    """How a model groups its inputs or outputs: the attribute of either generation, else one tensor or a list."""
    for name in (keras_3, keras_2):
        if hasattr(model, name):
            return getattr(model, name)
    return flat[0] if len(flat) == 1 else list(flat)


def _output_names(model: Any) -> list[str]:
    """Keys of a dictionary of outputs (sorted, as they are flattened), else names of the layers that make them."""
    structure = _structure(model, "_outputs_struct", "_nested_outputs", model.outputs)
    if isinstance(structure, dict):
        return sorted(structure)
    names = list(getattr(model, "output_names", None) or [model.layers[-1].name])
    return names if len(names) == len(model.outputs) else [f"output_{i}" for i in range(len(model.outputs))]


def _meta_graph(path: Path, tags: Sequence[str]) -> tuple[Sequence[str], Mapping[str, Any]]:
    """Tags and signatures of the part of a SavedModel that is meant."""
    from tensorflow.python.saved_model import loader_impl

    try:
        parts = loader_impl.parse_saved_model(str(path)).meta_graphs
    except Exception as error:
        raise SourceError(
            f"{path}: its saved_model.pb cannot be read, it may be truncated: {tensorflow.reason(error)}",
            hint="copy the whole folder again",
        ) from error
    sets = [tuple(sorted(part.meta_info_def.tags)) for part in parts]
    wanted = tuple(sorted(tags)) if tags else sets[0] if len(sets) == 1 else ("serve",)
    if wanted not in sets:
        offered = "; ".join(", ".join(s) or "(none)" for s in sets) or "none"
        raise SourceError(
            f"{path}: no part with the tags {', '.join(wanted)}; it has: {offered}", hint="choose with source.tags"
        )
    return wanted, parts[sets.index(wanted)].signature_def


def _signature(path: Path, asked: str, offered: Iterable[str]) -> str:
    names = sorted(name for name in offered if name not in _INTERNAL_SIGNATURES)
    if asked in names:
        return asked
    listed = ", ".join(names) or "none"
    if asked:
        raise SourceError(f"{path}: no signature {asked!r}; it has {listed}", hint=choice(asked, names))
    if "serving_default" in names:
        return "serving_default"
    if not names:
        raise SourceError(
            f"{path}: it has no signature, so nothing says what its inputs and outputs are",
            hint="save it with tf.saved_model.save(model, path, signatures=model.function)",
        )
    if len(names) != 1:
        raise SourceError(
            f"{path}: which signature is meant is open; it has {listed}",
            hint="choose with source.signature (--signature)",
        )
    return names[0]


def _flat_names(structure: Mapping[str, Any]) -> Iterable[str]:
    """Keys of a flat mapping in the order in which TensorFlow flattens it."""
    return sorted(structure)


def _session(frozen: FrozenGraph) -> Any:
    """A session without graph optimization: on large frozen graphs that takes longer than all the computing."""
    tf = tensorflow.load()
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    with tf.Graph().as_default() as native:
        try:
            tf.import_graph_def(_whole(frozen), name="")
        except ValueError as error:
            raise SourceError(
                f"TensorFlow cannot read the frozen graph: {tensorflow.reason(error)}",
                hint="an input's shape may contradict the graph",
            ) from error
    return tf.compat.v1.Session(graph=native, config=config)


def _whole(frozen: FrozenGraph) -> Any:
    """The graph with the contents of its large constants."""
    graph = type(frozen.graph)()
    graph.CopyFrom(frozen.graph)
    for node in graph.node:
        if node.name in frozen.weights:
            node.attr["value"].tensor.tensor_content = bytes(frozen.weights[node.name].read())
    return graph


def _endpoint(name: str, tensor: Any) -> Endpoint:
    shape = None if tensor.shape.rank is None else public_dims(name, tensor.shape.as_list())
    return Endpoint(name, tensor.name, graph_reader.dtype_name(tensor.dtype.as_datatype_enum), shape)

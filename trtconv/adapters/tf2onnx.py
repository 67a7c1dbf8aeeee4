"""The door to tf2onnx: graphs of TensorFlow and files of TensorFlow Lite become ONNX models.

Two things are changed in it, so that the same graph always gives the same bytes: its sets keep their order, and the
counter in the names it makes starts anew.

Two things are done around the converter, because without them it takes 50 times a model's size in memory: large
constants wait outside while TensorFlow optimizes the graph and while tf2onnx works on it, and it keeps no copies of
the graph to fall back to.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, MutableSet
from typing import Any

import numpy as np
import onnx

from trtconv.adapters import tensorflow, tf2onnx_operators
from trtconv.adapters.weight_placeholders import Held, instead
from trtconv.core.errors import ConversionError, MissingPackage, TrtconvError

OPSETS = range(13, 19)


def require_opset(opset: int) -> None:
    """Fail on an opset that the converter does not write.

    Raises:
        ConversionError: one out of ``OPSETS``.
    """
    if opset not in OPSETS:
        raise ConversionError(
            f"TensorFlow models convert to opsets {OPSETS[0]} to {OPSETS[-1]}, not {opset}",
            hint="17 is best for TensorRT",
        )


@contextlib.contextmanager
def repaired() -> Iterator[None]:
    """The converter with its repairs; its failures become ours."""
    _import()
    failures = _Failures()
    logger = logging.getLogger("tf2onnx.tfonnx")
    logger.addHandler(failures)
    try:
        with _product_of_numpy_1(), _sets_with_order():
            yield
    except TrtconvError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:400] or type(error).__name__
        raise ConversionError(
            f"{failures.where}tf2onnx cannot convert {'it' if failures.where else 'the graph'}: {text}",
            hint="a limit of the converter, not a fault of the model: say the sizes that its inputs leave open "
            "(--input NAME:1,...), or end it before that (convert.outputs)",
        ) from error
    finally:
        logger.removeHandler(failures)


class _Failures(logging.Handler):
    """Where the converter last failed: only its log says it.

    Attributes:
        where: ``node 'a/b' (Op): ``; empty when it named none.
    """

    where = ""

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Failed to convert node") and isinstance(record.args, tuple):
            name, *_, summary = record.args
            op = re.search(r"OP=(\w+)", str(summary))
            self.where = f"node {name!r} ({op[1] if op else 'operator unknown'}): "


def version() -> str:
    """tf2onnx's version."""
    return str(_import().__version__)


def _import() -> Any:
    tensorflow.load()
    try:
        import tf2onnx
    except ModuleNotFoundError as error:
        if error.name != "tf2onnx":
            raise
        raise MissingPackage("tf2onnx", "tf", "converting a TensorFlow model") from None
    return tf2onnx


def convert(
    graph: Any, opset: int, held: Held, handlers: Mapping[str, Any] | None = None, **options: Any
) -> onnx.ModelProto:
    """What the converter makes of a graph, with the weights that were held aside put back; call it in ``repaired``.

    Args:
        graph: of TensorFlow; None where ``options`` name a TensorFlow Lite file.
        opset: of the model.
        held: the weights.
        handlers: operators besides those of ``tf2onnx_operators`` that the converter lacks.
        options: of the converter's ``process_tf_graph``.
    """
    from tf2onnx import optimizer, tfonnx, utils

    native = tensorflow.load()

    def process() -> Any:
        utils.INTERNAL_NAME = 1  # the counter in the names it makes: same names, same bytes
        with (graph or native.Graph()).as_default():  # functions that functions call are looked up in it
            return tfonnx.process_tf_graph(
                graph,
                continue_on_error=False,
                opset=opset,
                custom_op_handlers={**tf2onnx_operators.handlers(), **(handlers or {})},
                **copy.deepcopy(options),
            )

    with instead(held):
        result = process()
        try:
            result = optimizer.optimize_graph(result, catch_errors=False)
        except Exception:  # noqa: BLE001 - one of its passes: convert again, with copies of the graph to fall back to
            result = optimizer.optimize_graph(process(), catch_errors=True)
        model: onnx.ModelProto = result.make_model("", graph_name="model")
    del result  # what it holds may be large: strings, and what it has not made by ONNX's helpers
    for tensor in _tensors(model.graph):
        held.join(tensor)
    for node in _nodes(model.graph):
        if (node.domain, node.op_type) == ("com.microsoft", "Range"):  # the same as ONNX's
            node.domain = ""
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    """The constants of a graph and of the graphs inside it."""
    for part in _graphs(graph):
        yield from part.initializer
        yield from (item.t for node in part.node for item in node.attribute if item.HasField("t"))


def _nodes(graph: Any) -> Iterator[Any]:
    return (node for part in _graphs(graph) for node in part.node)


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _graphs(body)


class _OrderedSet(MutableSet[Any]):
    """A set that is iterated in the order in which its items came; with the methods that tf2onnx calls."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: Any) -> None:
        self._items[value] = None

    def discard(self, value: Any) -> None:
        self._items.pop(value, None)

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            self._items.update(dict.fromkeys(other))

    def union(self, *others: Iterable[Any]) -> _OrderedSet:
        result = _OrderedSet(self)
        result.update(*others)
        return result

    def intersection(self, other: Iterable[Any]) -> _OrderedSet:
        return _OrderedSet(item for item in other if item in self._items)

    def difference(self, other: Iterable[Any]) -> _OrderedSet:
        gone = _OrderedSet(other)
        return _OrderedSet(item for item in self if item not in gone)

    def issubset(self, other: Iterable[Any]) -> bool:
        return all(item in other for item in self)

    def copy(self) -> _OrderedSet:
        return _OrderedSet(self)


@contextlib.contextmanager
def _sets_with_order() -> Iterator[None]:
    """Let ``set(...)`` in those modules of tf2onnx that iterate over sets keep its order.

    The order of a builtin set changes from process to process (hash seed, addresses), and with it the names that
    survive when equal nodes are merged.
    """
    from tf2onnx import graph, tf_loader
    from tf2onnx.optimizer import back_to_back_optimizer, transpose_optimizer

    modules: tuple[Any, ...] = (graph, tf_loader, back_to_back_optimizer, transpose_optimizer)
    for module in modules:
        module.set = _OrderedSet  # hides the builtin in that module only
    try:
        yield
    finally:
        for module in modules:
            del module.set


@contextlib.contextmanager
def _product_of_numpy_1() -> Iterator[None]:
    """tf2onnx still calls ``numpy.product``, which NumPy 2 dropped."""
    if hasattr(np, "product"):
        yield
        return
    np.product = np.prod  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.product  # type: ignore[attr-defined]

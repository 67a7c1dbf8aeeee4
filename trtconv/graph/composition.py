"""Operators that ONNX does not have, written with those that it has: by a user's file, or by our own functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.lazy import resolve
from trtconv.core.names import did_you_mean
from trtconv.graph import check, editing
from trtconv.graph.contrib import MICROSOFT, MISPLACED, OWN_OPSET, WRITERS
from trtconv.graph.contrib.site import NotExpressible, Site
from trtconv.graph.function_files import Written, read
from trtconv.graph.splicing import splice

Key = tuple[str, str]
_OF_PLUGINS = "TRT"


@dataclass
class Composed:
    """What was replaced.

    Attributes:
        counts: nodes by operator (``com.microsoft::Gelu``) and by what they were written with.
        left: nodes that a function of ours does not write, with the reason.
        notes: what holds for a replacement only under conditions; once per kind.
        tolerance: by how much the operators themselves are inexact, over the largest value of an output.
        because: what in them is.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: dict[str, str] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    tolerance: float = 0.0
    because: str = ""

    def sentences(self) -> list[str]:
        """One per operator."""
        return [
            f"{operator}: {count} node{'s' * (count > 1)} written with ONNX's operators by {by}"
            for (operator, by), count in self.counts.items()
        ]


def named(key: Key) -> str:
    """``my.domain::Op``; ONNX's own domain is ``ai.onnx``."""
    return f"{key[0] or 'ai.onnx'}::{key[1]}"


def key_of(text: str) -> Key:
    """(domain, operator) of ``my.domain::Op``.

    Raises:
        UsageError: not of that form.
    """
    domain, mark, name = text.rpartition("::")
    if not mark or not domain or not name:
        raise UsageError(f"operators: {text!r} is no DOMAIN::NAME", hint=f"for example my.domain::{name or 'Gelu'}")
    return ("" if domain in editing.ONNX_DOMAINS else domain, name)


def take_over(model: onnx.ModelProto, operators: Mapping[str, Path | None]) -> None:
    """Drop the model's own functions of these operators, in place, before they are inlined: the user's count."""
    keys = {key_of(text) for text in operators}
    kept = [function for function in model.functions if (function.domain, function.name) not in keys]
    if len(kept) < len(model.functions):
        del model.functions[:]
        model.functions.extend(kept)


def compose(model: onnx.ModelProto, operators: Mapping[str, Path | None]) -> Composed:
    """Replace nodes of these operators, and those that ``WRITERS`` write, in place.

    Args:
        model: as ``clean.prepare`` leaves it.
        operators: ``DOMAIN::NAME`` -> file with an ONNX function or model; None: its nodes stay, there is a plugin.

    Raises:
        UsageError: a file without such a function, or an operator that the model does not have.
        ConversionError: a node whose inputs or attributes do not fit; it names node and file.
    """
    keys = {key_of(text): given for text, given in operators.items()}
    written = {key: read(given, key) for key, given in keys.items() if given is not None}
    _require_present(model, keys, {used for one in written.values() for used in one.uses})
    _require_no_circle(written)
    kept = {key for key, given in keys.items() if given is None}
    work = _Composing(model, written, kept)
    work.run()
    return work.done


def _require_present(model: onnx.ModelProto, keys: Mapping[Key, Any], inside: set[Key]) -> None:
    present = {_key(node) for _, node in editing.walk(model.graph)}
    foreign = {named(_key(node)) for node, _ in check.foreign_nodes(model)}
    for key in keys:
        if key not in present | inside:
            there = f"; it has {', '.join(sorted(foreign))}" if foreign else ""
            raise UsageError(
                f"operators: the model has no node of {named(key)}{there}",
                hint=did_you_mean(named(key), foreign) or "remove it, or check its domain and its name",
            )


def _require_no_circle(written: Mapping[Key, Written]) -> None:
    def visit(key: Key, path: tuple[Key, ...]) -> None:
        if key in path:
            listed = " uses ".join(named(one) for one in (*path, key))
            raise UsageError(f"operators: {listed}: that never ends", hint=f"write {named(key)} with other operators")
        if key in written:
            for used in written[key].uses:
                visit(used, (*path, key))

    for key in written:
        visit(key, ())


def _key(node: Any) -> Key:
    return ("" if node.domain in editing.ONNX_DOMAINS else node.domain, node.op_type)


class _Composing:
    """Rounds of inference and replacement, until nothing more can be replaced."""

    def __init__(self, model: onnx.ModelProto, written: Mapping[Key, Written], kept: set[Key]) -> None:
        self.model, self.written, self.kept = model, written, kept
        self.done = Composed()
        self.known: dict[str, Any] = {}

    def run(self) -> None:
        self.keep()
        moved = self.misplaced()
        keys = {_key(node) for _, node in editing.walk(self.model.graph) if self.wanted(node)}
        if not keys:
            return
        ours = [OWN_OPSET] if keys - self.written.keys() else []
        editing.require_opset(self.model, max([*ours, *(one.opset for one in self.written.values())]))
        while self.pass_over(_with_ranks) or self.pass_over(lambda _, node: _key(node) in self.written):
            pass
        for _, node in editing.walk(self.model.graph):
            if self.waiting(node):
                self.leave(node, "the number of dimensions of its inputs is not known")
            if editing.label(node) in moved and node.op_type in MISPLACED:
                node.domain = ""
        _import_domains(self.model)

    def keep(self) -> None:
        """Give nodes of plugins that stand in ONNX's own domain another one, which TensorRT does not look at."""
        moved = [
            node
            for _, node in editing.walk(self.model.graph)
            if _key(node) in self.kept and _key(node)[0] == "" and not onnx.defs.has(node.op_type)
        ]
        for node in moved:
            node.domain = _OF_PLUGINS
        if moved:
            _import_domains(self.model)

    def misplaced(self) -> set[str]:
        """Give nodes that ONNX Runtime keeps in ONNX's domain its own, for now."""
        found = set()
        for _, node in editing.walk(self.model.graph):
            if node.op_type in MISPLACED and _key(node)[0] == "" and ("", node.op_type) not in self.written:
                node.domain = MICROSOFT
                found.add(editing.label(node))
        if found and MICROSOFT not in {item.domain for item in self.model.opset_import}:
            self.model.opset_import.add(domain=MICROSOFT, version=1)
        return found

    def wanted(self, node: Any) -> bool:
        key = _key(node)
        return key not in self.kept and (key in self.written or key in WRITERS)

    def pass_over(self, ready: Callable[[_Scope, Any], bool]) -> bool:
        """Replace the nodes that are ready, in all graphs; whether there was one."""
        if not any(self.waiting(node) for _, node in editing.walk(self.model.graph)):
            return False
        names, changed = editing.Names.of(self.model), False
        for scope in _scopes(self.model):
            scope.types |= self.known  # inference does not see all that the pieces knew
            nodes: list[Any] = []
            count = self.done.counts.total()
            for node in scope.graph.node:
                made = self.replaced(scope, node, names) if self.waiting(node) and ready(scope, node) else None
                nodes += [node] if made is None else made
            if self.done.counts.total() > count:
                editing.replace_nodes(scope.graph, nodes)
                changed = True
        _import_domains(self.model)
        return changed

    def waiting(self, node: Any) -> bool:
        return self.wanted(node) and editing.label(node) not in self.done.left

    def leave(self, node: Any, reason: str) -> None:
        self.done.left[editing.label(node)] = f"{named(_key(node))}: {reason}"

    def replaced(self, scope: _Scope, node: Any, names: editing.Names) -> list[Any] | None:
        """The nodes in a node's place; None where it stays."""
        try:
            piece, by = self.piece(scope, node)
        except NotExpressible as reason:
            self.leave(node, str(reason))
            return None
        except ConversionError as error:
            if _key(node) in self.written:
                raise
            self.leave(node, error.message)  # ONNX's operators do not take such types or shapes
            return None
        made = splice(node, piece, names)
        self.model.graph.initializer.extend(made.constants)
        scope.types |= made.types
        self.known |= made.types
        self.done.counts[named(_key(node)), by] += 1
        return made.nodes

    def piece(self, scope: _Scope, node: Any) -> tuple[Any, str]:
        """A model that computes what the node does, and whose it is."""
        key, opset = _key(node), editing.opset(self.model)
        if key in self.written:
            return self.written[key].piece(node, scope.types, scope.constant, opset), self.written[key].path.name
        site = Site(node, scope.types, scope.constant, opset)
        made = resolve(WRITERS[key])(site)
        self.done.notes |= dict.fromkeys(f"{named(key)}: {note}" for note in site.notes)
        if site.tolerance > self.done.tolerance:
            self.done.tolerance, self.done.because = site.tolerance, f"{node.op_type} {site.because}"
        outputs = [made[position] if name else "" for position, name in enumerate(node.output)]
        return site.b.model([name for name in outputs if name]), "trtconv"


@dataclass
class _Scope:
    """A graph with what is known of the tensors that its nodes can read.

    Attributes:
        graph: of the model.
        types: TypeProto by name.
        constants: TensorProto by name.
    """

    graph: Any
    types: dict[str, Any]
    constants: Mapping[str, Any]

    def constant(self, name: str) -> Any:
        """Values of a constant; None for another tensor."""
        return editing.array(self.constants[name]) if name in self.constants else None


def _scopes(model: onnx.ModelProto) -> Iterator[_Scope]:
    """The model's graphs; types are what inference finds now."""
    light = editing.skeleton(model)
    try:
        found = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except Exception as error:
        raise ConversionError(
            f"types or shapes do not fit: {' '.join(str(error).split())[:300]}", hint="export the model again"
        ) from error
    yield from _inner(model.graph, found, {}, {})


def _inner(graph: Any, found: Any, types: Mapping[str, Any], constants: Mapping[str, Any]) -> Iterator[_Scope]:
    known = dict(types)
    for tensor in graph.initializer:
        known[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    for value in (*found.input, *found.value_info, *found.output):
        known.setdefault(value.name, value.type)
    held = {**constants, **editing.initializers(graph)}
    for node, other in zip(list(graph.node), list(found.node), strict=True):
        for body, seen in zip(editing.bodies(node), editing.bodies(other), strict=True):
            yield from _inner(body, seen, known, held)
    yield _Scope(graph, known, held)


def _with_ranks(scope: _Scope, node: Any) -> bool:
    """Whether type and number of dimensions of all inputs are known."""
    kinds = [scope.types.get(name) for name in node.input if name]
    return all(kind is not None and kind.tensor_type.HasField("shape") for kind in kinds)


def _import_domains(model: onnx.ModelProto) -> None:
    """Import the domains that are used, and no others: programs refuse files that name unknown ones."""
    used = {node.domain for _, node in editing.walk(model.graph)}
    kept = [item for item in model.opset_import if item.domain in editing.ONNX_DOMAINS or item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for domain in sorted(used - {item.domain for item in kept} - set(editing.ONNX_DOMAINS)):
        model.opset_import.add(domain=domain, version=1)

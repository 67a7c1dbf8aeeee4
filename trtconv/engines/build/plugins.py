"""Plugins of TensorRT: loaded into the registry, and held to the nodes that need them before TensorRT sees those.

TensorRT's parser finds a plugin by the operator's name and the attribute ``plugin_version`` alone and drops attributes
that are no fields of it without a word; a Python plugin without one of its methods ends the process.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trtconv.adapters import alias_library
from trtconv.adapters.tensorrt import Loaded
from trtconv.adapters.tensorrt_plugins_api import TrtIPluginCreatorV3One
from trtconv.core.errors import BuildError, UsageError
from trtconv.core.lazy import resolve
from trtconv.core.names import did_you_mean
from trtconv.core.records import PluginSpec
from trtconv.engines.build import messages
from trtconv.graph import check, editing

_FIELDS = onnx.AttributeProto
_REALS = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BF16", "FP8", "FP4"})
_WHOLE = frozenset({"INT4", "INT8", "INT16", "INT32", "INT64", "DIMS"})
_TAKEN: Mapping[int, frozenset[str]] = {
    _FIELDS.FLOAT: _REALS,
    _FIELDS.FLOATS: _REALS,
    _FIELDS.INT: _WHOLE,
    _FIELDS.INTS: _WHOLE,
    _FIELDS.STRING: frozenset({"CHAR"}),
    _FIELDS.TENSOR: _REALS | _WHOLE,
}
"""Kind of an ONNX attribute -> kinds of a plugin's field that it can fill."""
_OF_PARSER = frozenset({"plugin_version", "plugin_namespace", "aux_input_indices"})
_METHODS = (
    "get_capability_interface",
    "get_output_data_types",
    "get_output_shapes",
    "supports_format_combination",
    "configure_plugin",
    "get_fields_to_serialize",
    "clone",
    "attach_to_context",
    "on_shape_change",
    "set_tactic",
    "enqueue",
)
_HINT = "docs/custom_layers.md has a plugin in Python and one in C++"

Key = tuple[str, str, str]
"""Name, version and namespace of a creator."""


@dataclass(frozen=True)
class Brought:
    """A plugin that is loaded.

    Attributes:
        spec: where it came from.
        creators: what it added to the registry.
        needing: nodes of the model that it is made for, with their attributes; filled by ``match``.
    """

    spec: PluginSpec
    creators: Mapping[Key, TrtIPluginCreatorV3One]
    needing: list[dict[str, Any]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """For the sidecar, besides what its file is."""
        return {
            "creators": [
                {"name": name, "version": version, "namespace": space, "fields": _fields(creator)}
                for (name, version, space), creator in self.creators.items()
            ],
            "nodes": self.needing,
        }


_held: dict[tuple[str, str], Brought] = {}
"""What this process has loaded, by flavour and name: TensorRT refuses a second time."""


def located(spec: PluginSpec) -> PluginSpec:
    """The same with the file that holds it: a module is looked for as ``import`` does.

    Raises:
        UsageError: there is no such module.
    """
    if spec.file is not None:
        return spec
    if spec.path is not None:
        return replace(spec, file=spec.path)
    module = spec.python.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None or found.origin is None:
        raise UsageError(
            f"plugins: there is no module {module!r}",
            hint="modules are looked for in the current folder and in PYTHONPATH",
        )
    return replace(spec, file=Path(found.origin).absolute())


def load(loaded: Loaded, specs: Sequence[PluginSpec]) -> list[Brought]:
    """Load plugins into the registry of a flavour, for the rest of the process.

    Raises:
        BuildError: a flavour whose parser takes no plugins; a library without creators.
        UsageError: a class that is no creator.
    """
    if specs and loaded.can.unversioned_library:
        alias_library.load(*loaded.can.unversioned_library)
    for spec in specs:
        key = (loaded.flavor.name, _name(spec))
        if key not in _held:
            _held[key] = _of_python(loaded, spec) if spec.python else _of_library(loaded, spec)
            _require_taken(loaded, _held[key])
    return [_held[loaded.flavor.name, _name(spec)] for spec in specs]


def _require_taken(loaded: Loaded, brought: Brought) -> None:
    """Refuse what an older parser would not look for."""
    names = {name for name, _, _ in brought.creators}
    if loaded.at_least(loaded.can.plugins_since) or names & dict(loaded.can.plugin_operators).keys():
        return
    since = ".".join(map(str, loaded.can.plugins_since))
    raise BuildError(
        f"{loaded.title} takes no plugin for {', '.join(sorted(names))} through its parser; "
        f"{loaded.flavor.title} does from {since} on",
        hint="upgrade it, or say what the operator computes: operators (docs/custom_layers.md)",
    )


def _name(spec: PluginSpec) -> str:
    return spec.python or str(spec.path)


def _of_library(loaded: Loaded, spec: PluginSpec) -> Brought:
    registry, before = loaded.api.get_plugin_registry(), _creators(loaded)
    log, _ = messages.listen(loaded)
    log.take()
    handle = registry.load_library(str(spec.path))
    said = messages.errors(log.take())
    added = {key: creator for key, creator in _creators(loaded).items() if key not in before}
    if handle is None or not added:
        reasons = "; ".join(said) or "it adds no plugin creator that was not there"
        raise BuildError(f"{loaded.title} does not load the plugin {spec.path}: {reasons}", hint=_HINT)
    return Brought(spec, added)


def _of_python(loaded: Loaded, spec: PluginSpec) -> Brought:
    if spec.file is not None and (folder := _root(spec)) not in sys.path:
        sys.path.insert(0, folder)
    try:
        made = resolve(spec.python)
        creator = made(loaded.api) if _takes_module(made) else made()
    except Exception as error:
        raise UsageError(
            f"plugins: {spec.python} makes no creator: {type(error).__name__}: {error}", hint=_HINT
        ) from error
    lacking = [
        name for name in ("name", "plugin_version", "field_names", "create_plugin") if not hasattr(creator, name)
    ]
    if lacking:
        raise UsageError(f"plugins: {spec.python} is no plugin creator: it has no {lacking[0]}", hint=_HINT)
    if not loaded.api.get_plugin_registry().register_creator(creator, creator.plugin_namespace):
        raise BuildError(f"{loaded.title} does not register {spec.python}", hint=_HINT)
    return Brought(spec, {(creator.name, creator.plugin_version, creator.plugin_namespace): creator})


def _root(spec: PluginSpec) -> str:
    """The folder that a module's first name is looked for in."""
    assert spec.file is not None
    depth = spec.python.partition(":")[0].count(".") + (spec.file.name == "__init__.py")
    return str(spec.file.parents[depth])


def _takes_module(made: Any) -> bool:
    """Whether a class or function wants to be told which TensorRT it is for."""
    parameters = inspect.signature(made).parameters.values()
    return any(one.default is one.empty and one.kind is not one.VAR_KEYWORD for one in parameters)


def _creators(loaded: Loaded) -> dict[Key, TrtIPluginCreatorV3One]:
    found = loaded.api.get_plugin_registry().all_creators
    return {(one.name, one.plugin_version, one.plugin_namespace): one for one in found}


def _fields(creator: TrtIPluginCreatorV3One) -> dict[str, str]:
    return {one.name: one.type.name for one in creator.field_names or ()}


def match(loaded: Loaded, model: onnx.ModelProto, brought: Sequence[Brought]) -> list[str]:
    """Hold the nodes that are not of ONNX to the plugins of their name; what is doubtful comes back in sentences.

    Raises:
        BuildError: another version than the node asks for, attributes that are no fields of the plugin or of another
            type, a Python plugin without one of its methods; it names node and plugin.
    """
    known = _creators(loaded)
    nodes = [node for node, _ in check.foreign_nodes(model)]
    said: list[str] = []
    for one in brought:
        one.needing.clear()  # of an attempt before
    for node in nodes:
        named = {key: creator for key, creator in known.items() if key[0] == node.op_type}
        if named:
            said += _matched(loaded, node, named, brought)
        elif near := did_you_mean(node.op_type, {key[0] for one in brought for key in one.creators}):
            said.append(f"node {editing.label(node)!r}: no plugin is called {node.op_type}; {near}")
    operators = ", ".join(sorted({f"{node.domain}::{node.op_type}" for node in nodes})) or "ONNX's alone"
    for one in brought:
        if not one.needing:
            names = ", ".join(f"{name} {version}" for name, version, _ in one.creators)
            said.append(f"the plugin {_name(one.spec)} ({names}) is not needed; the model has {operators}")
    return list(dict.fromkeys(said))


def _matched(
    loaded: Loaded, node: Any, named: Mapping[Key, TrtIPluginCreatorV3One], brought: Sequence[Brought]
) -> list[str]:
    about = f"node {editing.label(node)!r} ({node.op_type})"
    version = editing.attribute(node, "plugin_version", b"1").decode()
    key = next((key for key in named if key[1] == version), None)
    if key is None:
        there = ", ".join(sorted(one[1] for one in named))
        raise BuildError(
            f"{about} asks for version {version} of the plugin, and there is version {there}",
            hint=f"give the node the attribute plugin_version: {there!r}, or load that version's library",
        )
    fields = _fields(named[key])
    given = {item.name: item for item in node.attribute if item.name not in _OF_PARSER}
    handed = dict(loaded.can.plugin_operators).get(node.op_type, frozenset(given))
    for name, item in given.items():
        _require_field(about, name, item, fields)
        if name not in handed:
            raise BuildError(
                f"{about}: {loaded.title} hands its plugin no attribute {name!r}, only {', '.join(sorted(handed))}",
                hint="give the operator another name, or the plugin another way to know it",
            )
    mine = next((one for one in brought if key in one.creators), None)
    if mine is not None:
        values = {name: _plain(item) for name, item in given.items()}
        operator = f"{node.domain or 'ai.onnx'}::{node.op_type}"
        mine.needing.append({"node": node.name, "operator": operator, "version": version, "attributes": values})
        if mine.spec.python:
            _require_methods(loaded, about, mine.spec, named[key], given)
    missing = [name for name in fields if name not in given]
    return [f"{about} gives no {', '.join(missing)}: the plugin chooses"] if missing else []


def _require_field(about: str, name: str, item: Any, fields: Mapping[str, str]) -> None:
    listed = ", ".join(f"{field} ({kind})" for field, kind in fields.items()) or "none"
    if name not in fields:
        raise BuildError(
            f"{about}: its attribute {name!r} is no field of the plugin, and TensorRT would drop it; fields: {listed}",
            hint=did_you_mean(name, fields) or "remove the attribute, or add the field to the plugin's creator",
        )
    taken = _TAKEN.get(item.type, frozenset())
    if fields[name] not in taken | {"UNKNOWN"}:
        raise BuildError(
            f"{about}: its attribute {name!r} is {_FIELDS.AttributeType.Name(item.type)}, and the plugin's field is "
            f"{fields[name]}",
            hint="export the attribute in the type of the field",
        )


def _plain(item: Any) -> Any:
    """An attribute as JSON has it; of a tensor its type and shape."""
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return f"tensor of {list(value.dims)}"
    return value if isinstance(value, int | float) else list(value)


_ARRAYS = {"FLOAT16": np.float16, "FLOAT32": np.float32, "FLOAT64": np.float64, "INT8": np.int8, "INT16": np.int16}
_ARRAYS |= {"INT32": np.int32, "INT64": np.int64, "CHAR": np.uint8}


def _require_methods(
    loaded: Loaded, about: str, spec: PluginSpec, creator: TrtIPluginCreatorV3One, given: Mapping[str, Any]
) -> None:
    """Make the plugin once, and look at its class: what TensorRT calls and does not find ends the process."""
    try:
        plugin = creator.create_plugin(about, _collection(loaded, creator, given), loaded.api.TensorRTPhase.BUILD)
    except Exception as error:
        raise BuildError(
            f"{about}: {spec.python} makes no plugin of its attributes: {type(error).__name__}: {error}", hint=_HINT
        ) from error
    own = [kind for kind in type(plugin).__mro__ if not kind.__module__.startswith(loaded.flavor.module)]
    lacking = [name for name in _METHODS if not any(name in vars(kind) for kind in own if kind is not object)]
    if lacking:
        raise BuildError(f"{spec.python}: {type(plugin).__name__} has no method {', '.join(lacking)}", hint=_HINT)


def _collection(loaded: Loaded, creator: TrtIPluginCreatorV3One, given: Mapping[str, Any]) -> Any:
    api, fields = loaded.api, []
    for one in creator.field_names or ():
        if one.name in given and one.type.name in _ARRAYS:
            value = onnx.helper.get_attribute_value(given[one.name])
            array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.atleast_1d(_numbers(value))
            fields.append(api.PluginField(one.name, array.astype(_ARRAYS[one.type.name]), one.type))
    return api.PluginFieldCollection(fields)


def _numbers(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)

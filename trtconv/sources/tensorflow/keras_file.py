"""Keras files looked at without Keras: which Keras wrote them, which layers they hold, whether those hold code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trtconv.core.errors import MissingPackage, SourceError
from trtconv.core.records import TensorInfo
from trtconv.sources.tensorflow.frozen_graph import public_dims

HDF5 = b"\x89HDF\r\n\x1a\n"
"""The first bytes of a .h5 file."""


def keras_generation(path: Path) -> str:
    """The version of Keras that wrote a ``.keras`` file, such as ``3.15.1``; empty for other zip files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError):
        return ""


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Version of Keras and configuration of the model in a ``.keras`` or ``.h5`` file.

    Raises:
        SourceError: truncated, or weights without a model.
        MissingPackage: an ``.h5`` file, and no h5py.
    """
    if generation := keras_generation(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return generation, json.loads(archive.read("config.json"))
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise SourceError(f"{path}: its config.json cannot be read ({error})", hint="copy it again") from None
    return _read_h5(path)


def _read_h5(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        import h5py
    except ModuleNotFoundError:
        raise MissingPackage("h5py", "tf", "reading an .h5 file") from None
    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise SourceError(
                    f"{path}: holds weights without a model", hint="save the whole model: model.save(path)"
                )
            config: dict[str, Any] = json.loads(file.attrs["model_config"])
            return _text(file.attrs.get("keras_version", "2")), config
    except OSError as error:
        raise SourceError(f"{path}: cannot be read, it may be truncated ({error})", hint="copy it again") from None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def layers(config: Any) -> Iterator[tuple[str, str]]:
    """(class, name) of every layer of a model, nested models included."""
    if isinstance(config, list):
        for item in config:
            yield from layers(item)
    elif isinstance(config, dict):
        inner = config.get("config")
        if isinstance(config.get("class_name"), str) and isinstance(inner, dict) and "name" in inner:
            yield config["class_name"], str(inner["name"])
        for value in config.values():
            yield from layers(value)


def inputs(config: Any) -> list[TensorInfo]:
    """The inputs of a functional or sequential model, as far as its configuration has their shapes."""
    inner = config.get("config", {}) if isinstance(config, dict) else {}
    wanted = set(_names(inner.get("input_layers", []))) if isinstance(inner, dict) else set()
    found = []
    for layer in inner.get("layers", []) if isinstance(inner, dict) else []:
        facts = layer.get("config", {})
        shape = facts.get("batch_shape") or facts.get("batch_input_shape")
        name = str(facts.get("name", ""))
        if layer.get("class_name") != "InputLayer" or not shape or (wanted and name not in wanted):
            continue
        dtype = facts.get("dtype", "float32")
        found.append(TensorInfo(name, _DTYPES.get(str(dtype), str(dtype)), public_dims(name, shape)))
    return found


_DTYPES = {"float32": "float", "float64": "double"}


def _names(value: Any) -> Iterator[str]:
    """``["x", 0, 0]``, lists and dictionaries of that."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list) and value and isinstance(value[0], str):
        yield value[0]
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def refuse_code(path: Path, config: Any) -> None:
    """Fail on Lambda layers: they hold Python bytecode, which loading the file would run.

    Raises:
        SourceError: naming the layer.
    """
    for kind, name in layers(config):
        if kind == "Lambda":
            raise SourceError(
                f"{path}: layer {name!r} holds Python code in a Lambda layer",
                hint="if you trust its origin, allow it with --allow-code",
            )

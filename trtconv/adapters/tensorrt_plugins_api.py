"""Every name of TensorRT's plugins that trtconv uses, as protocols; see ``tensorrt_api``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from trtconv.adapters.tensorrt_enum import Enum


class TrtTensorRTPhase(Protocol):
    """What a plugin is made for."""

    BUILD: Enum


class TrtPluginField(Protocol):
    """A parameter of a plugin."""

    name: str
    type: Enum


class TrtPluginFieldCollection(Protocol):
    """Several of them."""

    def __iter__(self) -> Iterator[TrtPluginField]:
        """In order."""


class TrtIPluginCreatorV3One(Protocol):
    """Makes plugins of one kind."""

    name: str
    plugin_version: str
    plugin_namespace: str
    field_names: TrtPluginFieldCollection

    def create_plugin(self, name: str, field_collection: TrtPluginFieldCollection, phase: Enum) -> object:
        """A plugin; None, or anything raised, is a refusal."""


class TrtIPluginRegistry(Protocol):
    """All creators of a process."""

    @property
    def all_creators(self) -> Sequence[TrtIPluginCreatorV3One]:
        """Those of TensorRT itself too."""

    def load_library(self, plugin_path: str) -> object | None:
        """A handle, None on any failure, which the log tells."""

    def register_creator(self, creator: TrtIPluginCreatorV3One, plugin_namespace: str = "") -> bool:
        """Whether it was added; the caller keeps it alive."""

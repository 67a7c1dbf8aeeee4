"""Every name of TensorRT's refitting that trtconv uses, as protocols; see ``tensorrt_api``."""

from __future__ import annotations

from typing import Protocol

from trtconv.adapters.tensorrt_enum import Enum


class TrtRefitter(Protocol):
    """Gives an engine other weights."""

    def get_all_weights(self) -> list[str]:
        """Names of all that can be replaced."""

    def get_missing_weights(self) -> list[str]:
        """Names of those that it still lacks."""

    def refit_cuda_engine(self) -> bool:
        """Put what was given into the engine."""


class TrtOnnxParserRefitter(Protocol):
    """Gives a refitter the weights of an ONNX model; they live as long as it does."""

    @property
    def num_errors(self) -> int:
        """Errors so far."""

    def refit_from_file(self, model: str) -> bool:
        """Read the weights; False on any failure."""

    def refit_from_bytes(self, model: bytes, path: str) -> bool:
        """The same of a model in memory; its external data lie beside the path."""


class TrtISerializationConfig(Protocol):
    """How to write an engine."""

    def set_flag(self, flag: Enum) -> bool:
        """Switch a SerializationFlag on."""

    def clear_flag(self, flag: Enum) -> bool:
        """Switch a SerializationFlag off."""

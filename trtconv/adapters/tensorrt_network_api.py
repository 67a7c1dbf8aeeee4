"""Every name of TensorRT's networks and their profiles that trtconv uses, as protocols; see ``tensorrt_api``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from trtconv.adapters.tensorrt_enum import Enum

Values: TypeAlias = Sequence[int]


class TrtITensor(Protocol):
    """A tensor of a network."""

    @property
    def name(self) -> str:
        """The ONNX name."""

    @property
    def dtype(self) -> Enum:
        """Member of DataType."""

    @property
    def shape(self) -> Sequence[int]:
        """Dimensions; -1 is dynamic."""

    @property
    def is_shape_tensor(self) -> bool:
        """Whether its values decide shapes; known when the network is complete."""


class TrtINetworkDefinition(Protocol):
    """A parsed network."""

    @property
    def num_layers(self) -> int:
        """Layers after parsing."""

    @property
    def num_inputs(self) -> int:
        """Inputs."""

    @property
    def num_outputs(self) -> int:
        """Outputs."""

    def get_input(self, index: int) -> TrtITensor:
        """One input."""

    def get_output(self, index: int) -> TrtITensor:
        """One output."""


class TrtIOptimizationProfile(Protocol):
    """Ranges of the dynamic shapes."""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:  # noqa: A002
        """Range of one input."""

    def set_shape_input(self, input: str, min: Values, opt: Values, max: Values) -> None:  # noqa: A002
        """Range of the values of an input that decides shapes."""

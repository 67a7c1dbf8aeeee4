"""Every name that trtconv uses of TensorRT-RTX alone, as protocols, and the record that guards them.

``RtxX`` describes what the class ``X`` has in TensorRT-RTX and not in TensorRT. A value becomes an ``RtxX`` only by the
functions at the end, which ask what the flavour can do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from trtconv.adapters.tensorrt_api import TrtApi, TrtIBuilderConfig, TrtIHostMemory, TrtIRuntimeConfig, TrtRuntime
from trtconv.adapters.tensorrt_enum import Enum

Version: TypeAlias = tuple[int, ...]


class RtxComputeCapability(Protocol):
    """GPU generations to build for; members are looked up by name, since versions add some."""

    @property
    def __members__(self) -> Mapping[str, Enum]:
        """All members by name."""


class RtxDynamicShapesKernelSpecializationStrategy(Protocol):
    """When kernels are compiled for a shape that is new."""

    EAGER: Enum
    NONE: Enum


class RtxCudaGraphStrategy(Protocol):
    """Built-in capture of CUDA graphs."""

    WHOLE_GRAPH_CAPTURE: Enum


class RtxApi(TrtApi, Protocol):
    """The module ``tensorrt_rtx``."""

    ComputeCapability: RtxComputeCapability
    DynamicShapesKernelSpecializationStrategy: RtxDynamicShapesKernelSpecializationStrategy
    CudaGraphStrategy: RtxCudaGraphStrategy


class RtxIBuilderConfig(TrtIBuilderConfig, Protocol):
    """A builder's configuration with compute-capability targets."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Enum, index: int) -> bool:
        """Fill one slot; an empty slot fails the build."""


class RtxRuntime(TrtRuntime, Protocol):
    """A runtime that judges a plan before it loads it."""

    def get_engine_validity(self, buffer: bytes | memoryview) -> tuple[Enum, int]:
        """(EngineValidity, bits of EngineInvalidityDiagnostics) from a plan's header."""


class RtxIRuntimeCache(Protocol):
    """Kernels compiled at run time."""

    def deserialize(self, blob: bytes | memoryview) -> bool:
        """Load; False for a cache of another GPU, driver or version."""

    def serialize(self) -> TrtIHostMemory:
        """As bytes."""


class RtxIRuntimeConfig(TrtIRuntimeConfig, Protocol):
    """A context's configuration with just-in-time compilation."""

    dynamic_shapes_kernel_specialization_strategy: Enum
    cuda_graph_strategy: Enum

    def create_runtime_cache(self) -> RtxIRuntimeCache:
        """An empty cache."""

    def set_runtime_cache(self, cache: RtxIRuntimeCache) -> bool:
        """Use a cache."""


@dataclass(frozen=True)
class Capabilities:
    """What a flavour can do; the code asks this record, never the flavour's name.

    Attributes:
        builds_without_gpu: whether the builder needs no GPU.
        timing_cache: whether a build can reuse measured kernel times.
        tactics: whether the builder chooses kernels: TensorRT-RTX does that at the first run, so that optimization
            levels and levels of hardware compatibility change nothing.
        targets: compute capabilities can be chosen (``RtxIBuilderConfig``).
        validity: a plan can be judged from its header (``RtxRuntime``).
        lean_runtimes: whether other versions can run its engines, with a lean runtime of the one that built them.
        dla: whether it builds for deep-learning accelerators.
        jit: kernels are compiled at the first run, with a cache and built-in CUDA graphs (``RtxIRuntimeConfig``).
        shares_since: first version with ``jit`` whose contexts run as fast with kernels that they share
            (docs/runtime.md).
        int8_conv_since: first version that builds convolutions between Q/DQ pairs.
        plugins_since: first version whose parser takes plugins for any operator.
        plugin_operators: operators for which every parser makes a plugin, and the attributes that it gets as fields.
        by_address: whether it was seen to take weights by address and to hand out plans in pieces, and to make the same
            plan that way.
        unversioned_library: name of a library that it loads and its packages lack, and the one that they have.
        runs_on: (first version, lowest and highest compute capability that it was seen to run on), newest first.
    """

    builds_without_gpu: bool
    timing_cache: bool
    tactics: bool
    targets: bool
    validity: bool
    lean_runtimes: bool
    dla: bool
    jit: bool
    shares_since: Version
    int8_conv_since: Version
    plugins_since: Version
    plugin_operators: tuple[tuple[str, frozenset[str]], ...]
    by_address: bool
    unversioned_library: tuple[str, str] | None
    runs_on: tuple[tuple[Version, tuple[int, int], tuple[int, int]], ...]


RTX_ONLY: Mapping[str, str] = {
    "RtxIBuilderConfig": "targets",
    "RtxRuntime": "validity",
    "RtxIRuntimeConfig": "jit",
    "RtxApi": "jit",
}
"""The field of Capabilities that guards each RtxX that one can ask for."""


def with_targets(config: TrtIBuilderConfig, can: Capabilities) -> RtxIBuilderConfig:
    """The configuration of a flavour that has compute-capability targets."""
    assert can.targets
    return cast("RtxIBuilderConfig", config)


def with_validity(runtime: TrtRuntime, can: Capabilities) -> RtxRuntime:
    """The runtime of a flavour that judges plans."""
    assert can.validity
    return cast("RtxRuntime", runtime)


def with_jit(config: TrtIRuntimeConfig, can: Capabilities) -> RtxIRuntimeConfig:
    """The context configuration of a flavour that compiles at run time."""
    assert can.jit
    return cast("RtxIRuntimeConfig", config)


def rtx_module(api: TrtApi, can: Capabilities) -> RtxApi:
    """The module of a flavour that compiles at run time."""
    assert can.jit
    return cast("RtxApi", api)

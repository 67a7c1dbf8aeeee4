"""Members of TensorRT's enumerations that trtconv uses, as protocols; see ``tensorrt_api``."""

from __future__ import annotations

from typing import Protocol

from trtconv.adapters.tensorrt_enum import Enum


class TrtBuilderFlag(Protocol):
    """Flags of the builder's configuration."""

    TF32: Enum
    WEIGHT_STREAMING: Enum
    REFIT: Enum
    REFIT_IDENTICAL: Enum
    STRIP_PLAN: Enum
    VERSION_COMPATIBLE: Enum
    EXCLUDE_LEAN_RUNTIME: Enum
    GPU_FALLBACK: Enum


class TrtProfilingVerbosity(Protocol):
    """What an engine keeps of its layers."""

    LAYER_NAMES_ONLY: Enum
    DETAILED: Enum
    NONE: Enum


class TrtHardwareCompatibilityLevel(Protocol):
    """Which other GPUs an engine of TensorRT fits."""

    AMPERE_PLUS: Enum
    SAME_COMPUTE_CAPABILITY: Enum


class TrtLayerInformationFormat(Protocol):
    """Forms of an inspector's answers."""

    JSON: Enum


class TrtNetworkDefinitionCreationFlag(Protocol):
    """Flags of create_network."""

    STRONGLY_TYPED: Enum


class TrtMemoryPoolType(Protocol):
    """Memory pools of the builder."""

    WORKSPACE: Enum


class TrtTensorIOMode(Protocol):
    """Direction of an engine's tensor."""

    INPUT: Enum


class TrtTensorLocation(Protocol):
    """Where an engine wants a tensor."""

    HOST: Enum


class TrtDeviceType(Protocol):
    """What computes a layer."""

    DLA: Enum


class TrtSerializationFlag(Protocol):
    """What of an engine goes into its bytes."""

    EXCLUDE_WEIGHTS: Enum
    INCLUDE_REFIT: Enum

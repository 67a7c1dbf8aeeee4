"""Every name that trtconv uses of all TensorRTs, as protocols; what only TensorRT-RTX has is in ``tensorrt_rtx_api``.

mypy holds the code to these protocols, and a test holds the protocols to the recorded APIs of TensorRT 10.16 and 11.4
and TensorRT-RTX 1.5 and 1.7: ``TrtX`` describes what the class ``X`` has in all of them. Nothing else may be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from mmap import mmap
from typing import Protocol, TypeAlias

from trtconv.adapters.tensorrt_enum import Enum
from trtconv.adapters.tensorrt_plugins_api import (
    TrtIPluginRegistry,
    TrtPluginField,
    TrtPluginFieldCollection,
    TrtTensorRTPhase,
)

Values: TypeAlias = Sequence[int]


class TrtBuilderFlag(Protocol):
    """Flags of the builder's configuration."""

    TF32: Enum


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


class TrtILogger(Protocol):
    """Base class of loggers; only handed over."""


class TrtIProgressMonitor(Protocol):
    """Base class of progress monitors; only handed over."""


class TrtIProfiler(Protocol):
    """Base class of profilers; only handed over."""


class TrtIOutputAllocator(Protocol):
    """Base class of output allocators; only handed over."""


class TrtIStreamWriter(Protocol):
    """Base class of writers of a plan in pieces; only handed over."""


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


class TrtIHostMemory(Protocol):
    """Bytes owned by TensorRT."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

    @property
    def nbytes(self) -> int:
        """Their number."""


class TrtITimingCache(Protocol):
    """Times of kernels measured before."""

    def serialize(self) -> TrtIHostMemory:
        """As bytes."""


class TrtIBuilderConfig(Protocol):
    """How to build."""

    plugins_to_serialize: Sequence[str]

    progress_monitor: TrtIProgressMonitor
    builder_optimization_level: int
    hardware_compatibility_level: Enum
    profiling_verbosity: Enum

    def set_flag(self, flag: Enum) -> None:
        """Switch a BuilderFlag on."""

    def clear_flag(self, flag: Enum) -> None:
        """Switch a BuilderFlag off."""

    def set_memory_pool_limit(self, pool: Enum, pool_size: int) -> None:
        """Limit of one pool in bytes."""

    def add_optimization_profile(self, profile: TrtIOptimizationProfile) -> int:
        """Index of the profile, -1 when refused."""

    def create_timing_cache(self, serialized_timing_cache: bytes | memoryview) -> TrtITimingCache:
        """From bytes; empty bytes make an empty cache."""

    def set_timing_cache(self, cache: TrtITimingCache, ignore_mismatch: bool) -> bool:
        """Use a cache."""

    def get_timing_cache(self) -> TrtITimingCache | None:
        """The cache after a build."""


class TrtBuilder(Protocol):
    """Makes networks, configurations and plans."""

    def create_network(self, flags: int = 0) -> TrtINetworkDefinition | None:
        """A new network, None for flags that the version refuses."""

    def create_builder_config(self) -> TrtIBuilderConfig:
        """A new configuration."""

    def create_optimization_profile(self) -> TrtIOptimizationProfile:
        """A new profile."""

    def build_serialized_network(
        self, network: TrtINetworkDefinition, config: TrtIBuilderConfig
    ) -> TrtIHostMemory | None:
        """The plan, None on any failure."""

    def build_serialized_network_to_stream(
        self, network: TrtINetworkDefinition, config: TrtIBuilderConfig, writer: TrtIStreamWriter
    ) -> bool:
        """The same, handed over in pieces; False on any failure."""


class TrtParserError(Protocol):
    """One reason why a model cannot be parsed; all are methods."""

    def desc(self) -> str:
        """Text."""

    def file(self) -> str:
        """Source file; for an input of unsupported type, the input's name."""

    def func(self) -> str:
        """Function that refused."""

    def code(self) -> Enum:
        """Member of ErrorCode."""

    def node(self) -> int:
        """Index of the node, -1 for none."""

    def node_name(self) -> str:
        """Name of the node."""

    def node_operator(self) -> str:
        """ONNX operator."""


class TrtOnnxParser(Protocol):
    """Reads ONNX into a network."""

    @property
    def num_errors(self) -> int:
        """Errors of the last parse, or of the last question whether a model is supported."""

    @property
    def num_subgraphs(self) -> int:
        """Groups of nodes that it takes, after that question."""

    def supports_model_v2(self, model: bytes, path: str) -> bool:
        """Ask whether a model is supported; its external data lie beside the path."""

    def get_subgraph_nodes(self, index: int) -> list[int]:
        """Numbers of the nodes of one group."""

    def parse_from_file(self, model: str) -> bool:
        """Parse; True also for files that are no models at all."""

    def parse(self, model: bytes | mmap, path: str) -> bool:
        """The same of a model in memory; its external data lie beside the path."""

    def load_model_proto(self, model: bytes, path: str) -> bool:
        """Take a model that may lack the contents of initializers."""

    def load_initializer(self, name: str, data: int, size: int) -> bool:
        """Take the contents of one: an address, which must stay until the build is done, and a number of bytes."""

    def parse_model_proto(self) -> bool:
        """Parse what was taken."""

    def get_error(self, index: int) -> TrtParserError:
        """One error."""


class TrtIRuntimeConfig(Protocol):
    """How to make an execution context; only handed over."""


class TrtIExecutionContext(Protocol):
    """Runs an engine; one at a time."""

    profiler: TrtIProfiler

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Choose a profile; before any shape."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Shape of an input."""

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """Shape of a tensor under the shapes set; -1 where only data decide."""

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Where a tensor lies."""

    def set_output_allocator(self, name: str, output_allocator: TrtIOutputAllocator) -> bool:
        """Who finds memory for an output whose shape only the data decide."""

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue one run."""


class TrtEngineInspector(Protocol):
    """Tells what an engine is made of."""

    execution_context: TrtIExecutionContext

    def get_engine_information(self, format: Enum) -> str:  # noqa: A002
        """All layers."""


class TrtICudaEngine(Protocol):
    """A loaded plan."""

    @property
    def num_io_tensors(self) -> int:
        """Inputs and outputs."""

    @property
    def num_optimization_profiles(self) -> int:
        """Profiles."""

    @property
    def num_layers(self) -> int:
        """Layers, fused ones counted once."""

    @property
    def device_memory_size_v2(self) -> int:
        """Bytes of activations that one context needs."""

    def get_tensor_name(self, index: int) -> str:
        """Name of a tensor."""

    def get_tensor_mode(self, name: str) -> Enum:
        """Member of TensorIOMode."""

    def get_tensor_dtype(self, name: str) -> Enum:
        """Member of DataType."""

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """Shape; -1 is dynamic."""

    def get_tensor_location(self, name: str) -> Enum:
        """Member of TensorLocation."""

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Sequence[int]]:
        """Min, opt and max of an input."""

    def is_shape_inference_io(self, name: str) -> bool:
        """Whether a tensor's values decide shapes, or come of them."""

    def get_tensor_profile_values(self, name: int, profile_index: str) -> Sequence[Sequence[int]]:
        """Min, opt and max of such an input's values. The bindings swapped the names: the profile's number is first."""

    def create_runtime_config(self) -> TrtIRuntimeConfig:
        """A configuration for contexts."""

    def create_engine_inspector(self) -> TrtEngineInspector:
        """Of this engine."""

    def create_execution_context(self, runtime_config: TrtIRuntimeConfig) -> TrtIExecutionContext | None:
        """A context, None when memory is short."""


class TrtRuntime(Protocol):
    """Loads plans."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes | memoryview) -> TrtICudaEngine | None:
        """The engine, None on any failure."""


class TrtApi(Protocol):
    """The module ``tensorrt`` or ``tensorrt_rtx``."""

    __version__: str
    ILogger: type
    IProgressMonitor: type
    IProfiler: type
    IStreamWriter: type
    BuilderFlag: TrtBuilderFlag
    NetworkDefinitionCreationFlag: TrtNetworkDefinitionCreationFlag
    MemoryPoolType: TrtMemoryPoolType
    TensorIOMode: TrtTensorIOMode
    TensorLocation: TrtTensorLocation
    ProfilingVerbosity: TrtProfilingVerbosity
    HardwareCompatibilityLevel: TrtHardwareCompatibilityLevel
    LayerInformationFormat: TrtLayerInformationFormat
    TensorRTPhase: TrtTensorRTPhase

    def get_plugin_registry(self) -> TrtIPluginRegistry:
        """The one of this process."""

    def PluginField(self, name: str, data: object, type: Enum) -> TrtPluginField:  # noqa: A002, N802
        """Constructor."""

    def PluginFieldCollection(self, arg0: Iterable[TrtPluginField]) -> TrtPluginFieldCollection:  # noqa: N802
        """Constructor."""

    def Builder(self, logger: TrtILogger) -> TrtBuilder:  # noqa: N802
        """Constructor."""

    def Runtime(self, logger: TrtILogger) -> TrtRuntime:  # noqa: N802
        """Constructor. Without a driver TensorRT returns an object whose first use crashes: ask for a GPU before."""

    def OnnxParser(self, network: TrtINetworkDefinition, logger: TrtILogger) -> TrtOnnxParser:  # noqa: N802
        """Constructor."""

"""Every name that trtconv uses of all TensorRTs, as protocols; what only TensorRT-RTX has is in ``tensorrt_rtx_api``.

mypy holds the code to these protocols, and a test holds the protocols to the recorded APIs of TensorRT 10.16 and 11.4
and TensorRT-RTX 1.5 and 1.7: ``TrtX`` describes what the class ``X`` has in all of them. Nothing else may be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from mmap import mmap
from typing import Protocol

from trtconv.adapters.tensorrt_enum import Enum
from trtconv.adapters.tensorrt_enums_api import (
    TrtBuilderFlag,
    TrtDeviceType,
    TrtHardwareCompatibilityLevel,
    TrtLayerInformationFormat,
    TrtMemoryPoolType,
    TrtNetworkDefinitionCreationFlag,
    TrtProfilingVerbosity,
    TrtSerializationFlag,
    TrtTensorIOMode,
    TrtTensorLocation,
)
from trtconv.adapters.tensorrt_network_api import TrtINetworkDefinition, TrtIOptimizationProfile
from trtconv.adapters.tensorrt_plugins_api import (
    TrtIPluginRegistry,
    TrtPluginField,
    TrtPluginFieldCollection,
    TrtTensorRTPhase,
)
from trtconv.adapters.tensorrt_weights_api import TrtISerializationConfig, TrtOnnxParserRefitter, TrtRefitter


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
    default_device_type: Enum
    DLA_core: int

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

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        """Deep-learning accelerators of this machine."""

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

    weight_streaming_budget_v2: int

    @property
    def streamable_weights_size(self) -> int:
        """Bytes of weights that may stay on the host; 0 where the build did not ask for it."""

    @property
    def weight_streaming_scratch_memory_size(self) -> int:
        """Bytes of GPU memory of each context for weights on their way."""

    def get_weight_streaming_automatic_budget(self) -> int:
        """A budget that the GPU has room for now."""

    def create_serialization_config(self) -> TrtISerializationConfig:
        """How to write it."""

    def serialize_with_config(self, arg0: TrtISerializationConfig) -> TrtIHostMemory | None:
        """Its bytes, None on any failure."""

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
    DLA_core: int

    def load_runtime(self, path: str) -> TrtRuntime | None:
        """A lean runtime from a library, None on any failure; the one that it came of must live as long."""

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
    DeviceType: TrtDeviceType
    SerializationFlag: TrtSerializationFlag

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

    def Refitter(self, engine: TrtICudaEngine, logger: TrtILogger) -> TrtRefitter:  # noqa: N802
        """Constructor."""

    def OnnxParserRefitter(self, refitter: TrtRefitter, logger: TrtILogger) -> TrtOnnxParserRefitter:  # noqa: N802
        """Constructor."""

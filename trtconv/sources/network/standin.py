"""The modules that stand in for ``tensorrt`` and CUDA while a script runs."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from trtconv.sources.network import arrays, weights
from trtconv.sources.network.builder import Builder, Config, Logger, Nothing, Plugin, Profile, Registry, parser
from trtconv.sources.network.definition import Network
from trtconv.sources.network.enums import DATA_TYPES, ENUMS, Severity
from trtconv.sources.network.recording import LAYERS, Layer, Tensor

VERSION = "8.6.1"
"""What ``tensorrt.__version__`` says: between the oldest and the newest calls that scripts make."""

_CUDA = (
    "pycuda",
    "pycuda.autoinit",
    "pycuda.driver",
    "pycuda.gpuarray",
    "pycuda.compiler",
    "pycuda.tools",
    "cuda",
    "cuda.cuda",
    "cuda.cudart",
    "cuda.bindings",
    "cuda.bindings.driver",
    "cuda.bindings.runtime",
)
_RUNTIME = [
    "Runtime",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "IOutputAllocator",
    "IGpuAllocator",
    "IGpuAsyncAllocator",
    "IErrorRecorder",
    "IProfiler",
    "Profiler",
    "Refitter",
    "EngineInspector",
    "ITimingCache",
    "IAlgorithmSelector",
    "IProgressMonitor",
    "IStreamReader",
    "IStreamReaderV2",
    "IStreamWriter",
    "PluginField",
    "PluginFieldCollection",
    "PluginFieldType",
    "IPluginCreator",
    "IDebugListener",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ISerializationConfig",
    "IVersionedInterface",
    "InterfaceInfo",
    "OnnxParserRefitter",
    "ParserError",
    "TimingCacheKey",
    "TimingCacheValue",
]
_OF_NO_USE = [
    "APILanguage",
    "AllocatorFlag",
    "ComputeCapability",
    "CudaGraphStrategy",
    "DLAWorkspaceAllocationStrategy",
    "DimensionOperation",
    "EngineInvalidityDiagnostics",
    "EngineStat",
    "EngineValidity",
    "ErrorCode",
    "ErrorCodeTRT",
    "ExecutionContextAllocationStrategy",
    "FallbackString",
    "OnnxParserFlag",
    "RuntimePlatform",
    "SeekPosition",
    "SerializationFlag",
    "TempfileControlFlag",
    "TensorRTPhase",
    "TilingOptimizationLevel",
    "common_enter",
    "common_exit",
    "get_nv_onnx_parser_version",
]
"""Enumerations and functions whose values mean nothing to a network."""
_PLUGINS = ["IPluginV2", "IPluginV2Ext", "IPluginV2DynamicExt", "IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild"]
_CALIBRATORS = [
    "IInt8Calibrator",
    "IInt8LegacyCalibrator",
    "IInt8EntropyCalibrator",
    "IInt8EntropyCalibrator2",
    "IInt8MinMaxCalibrator",
]


class Calibrator:
    """What scripts derive their calibrators from."""

    algorithm = ""

    def __init__(self, *given: Any) -> None:
        pass


class StandIn(ModuleType):
    """A module whose unknown names are told apart from an error of the script's."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} that TensorRT 3 to 10 had")


class _Codes(type):
    """Every name of an enumeration of error codes is success."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _SUCCESS


class _Code(metaclass=_Codes):
    """What functions of CUDA's own bindings return first."""

    def __int__(self) -> int:
        return 0


_SUCCESS = _Code()
_GIVES = re.compile(r"^cu(?:da)?(?:\w*?)(?:Malloc|MemAlloc|HostAlloc|Create|Get|Query)")
"""Functions of CUDA's own bindings that return a value beside the error code."""


class _BindingsModule(ModuleType):
    """CUDA's own bindings, whose functions return tuples that begin with an error code."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("cudaError_t", "CUresult", "nvrtcResult"):
            return _Code
        if not name.startswith("cu") or (name[:5] == "cudaM" and name.endswith("Kind")):
            return Nothing()
        return lambda *given, **named: (_SUCCESS, Nothing()) if _GIVES.match(name) else (_SUCCESS,)


class _CudaModule(ModuleType):
    """A module all of whose names are nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


def tensorrt(ask: Callable[[Network], Any], done: Callable[[Network], None], version: str = VERSION) -> ModuleType:
    """The module ``tensorrt``.

    Args:
        ask: see ``recording.Network``.
        done: told of the network that is built.
        version: of ``__version__``.
    """
    module = StandIn("tensorrt")
    module.__path__ = []
    module.__dict__.update(_names(ask, done))
    module.__dict__["__version__"] = version
    return module


def _names(ask: Callable[[Network], Any], done: Callable[[Network], None]) -> dict[str, Any]:
    names: dict[str, Any] = {**ENUMS, **DATA_TYPES}
    names |= {one.kind.interface: one for one in LAYERS.values()}
    names |= dict.fromkeys(
        ["Dims", "Dims2", "Dims3", "Dims4", "DimsHW", "DimsCHW", "DimsNCHW", "DimsNACHW", "Permutation"], arrays.Dims
    )
    names |= dict.fromkeys(_OF_NO_USE, Nothing()) | {"IBuilderConfig": Config, "IOptimizationProfile": Profile}
    names |= dict.fromkeys(_RUNTIME, Nothing) | dict.fromkeys(_PLUGINS, Plugin)
    names |= {name: type(name, (Calibrator,), {"algorithm": name}) for name in _CALIBRATORS}
    names |= {"Weights": arrays.Weights, "volume": arrays.volume, "nptype": arrays.nptype}
    names |= {"ILayer": Layer, "ITensor": Tensor, "INetworkDefinition": Network, "Logger": Logger, "ILogger": Logger}
    names |= {"Builder": lambda *given, **named: Builder(ask, done), "get_plugin_registry": Registry}
    names |= {"get_builder_plugin_registry": Registry}
    names |= {"init_libnvinfer_plugins": lambda *given, **named: True, "IPluginRegistry": Registry}
    return names | _parsers()


def _parsers() -> dict[str, Any]:
    return {
        "OnnxParser": parser("OnnxParser", "give the .onnx file itself: trtconv convert model.onnx"),
        "CaffeParser": parser("CaffeParser", "give the network itself: trtconv convert deploy.prototxt --weights F"),
        "UffParser": parser("UffParser", "give the frozen graph that the .uff was made of: trtconv convert frozen.pb"),
    }


def _version_3(trt: ModuleType) -> dict[str, Any]:
    """What ``tensorrt.infer`` held, and ``tensorrt.legacy.infer`` of version 4 and 5."""
    data_types = {f"DataType_k{name}": ENUMS["DataType"][name] for name in ("FLOAT", "HALF", "INT8", "INT32")}
    return {
        **{name: value for name, value in trt.__dict__.items() if not name.startswith("__")},
        **data_types,
        "ConsoleLogger": Logger,
        "LogSeverity": Severity,
        "create_infer_builder": trt.Builder,
        "create_infer_runtime": Nothing,
    }


def _family(trt: ModuleType) -> dict[str, ModuleType]:
    """``tensorrt`` and the modules in it."""
    contents: dict[str, dict[str, Any]] = {
        "infer": _version_3(trt),
        "utils": {"load_weights": weights.load, "load_engine": Nothing(), "write_engine_to_file": Nothing()},
        "parsers": {},
        "plugin": {},
        "legacy": {},
    }
    refusing = _parsers()
    for old, new in (("caffeparser", "CaffeParser"), ("onnxparser", "OnnxParser"), ("uffparser", "UffParser")):
        makers = {f"create_{word}": refusing[new] for word in (old, old.replace("parser", "_parser"), "onnxconfig")}
        contents[f"parsers.{old}"] = makers
    made = {"tensorrt": trt}
    for path, names in contents.items():
        for prefix in ("tensorrt", "tensorrt.legacy"):
            if prefix.endswith("legacy") and path == "legacy":
                continue
            module = StandIn(f"{prefix}.{path}")
            module.__path__ = []
            module.__dict__.update(names)
            made[module.__name__] = module
    made["tensorrt.tensorrt"] = trt
    for name in sorted(made):
        parent, _, child = name.rpartition(".")
        if parent and name != "tensorrt.tensorrt":
            setattr(made[parent], child, made[name])
    return made


class _Samples(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """``common``, the utility module of NVIDIA's samples, where a script has none beside it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec("common", self) if name == "common" else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = _CudaModule("common")
        module.__dict__.update(EXPLICIT_BATCH=1, GiB=lambda count: count * 1 << 30, MiB=lambda count: count * 1 << 20)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Its names are there already."""


@contextmanager
def installed(trt: ModuleType, script: Path, arguments: Iterable[str]) -> Iterator[None]:
    """Let imports find the stand-ins, in the script's folder and with its command line; everything else is real."""
    cuda: dict[str, ModuleType] = {
        name: (_BindingsModule if name.startswith("cuda.") else _CudaModule)(name) for name in _CUDA
    }
    for name, module in cuda.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(cuda[parent], child, module)
    samples, before = _Samples(), (dict(sys.modules), list(sys.path), sys.argv, sys.stdin)
    sys.modules.update(_family(trt) | cuda)
    sys.meta_path.append(samples)
    sys.path.insert(0, str(script.parent))
    sys.argv, sys.stdin = [str(script), *arguments], io.StringIO()
    try:
        with contextlib.chdir(script.parent):
            yield
    finally:
        sys.meta_path.remove(samples)
        for name in [*_family(trt), *cuda, "common"]:
            sys.modules.pop(name, None)
        sys.modules.update({name: module for name, module in before[0].items() if name not in sys.modules})
        sys.path[:], sys.argv, sys.stdin = before[1:]

"""A loaded plan: its tensors, its profiles, and contexts to run it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trtconv.adapters import cuda, tensorrt
from trtconv.adapters.cuda import Device
from trtconv.adapters.tensorrt import Loaded
from trtconv.adapters.tensorrt_api import TrtICudaEngine, TrtIExecutionContext, TrtIRuntimeConfig, TrtRuntime
from trtconv.adapters.tensorrt_rtx_api import RtxIRuntimeCache, rtx_module, with_jit, with_validity
from trtconv.core import files, memory, permission
from trtconv.core.errors import EnvironmentProblem, OutOfMemory
from trtconv.core.events import Emit, Message, ignore
from trtconv.core.records import AS_USUAL, Loading, ShapeRange, TensorInfo
from trtconv.engines.build import messages, plugins, profiles
from trtconv.engines.build.profiles import Profile
from trtconv.engines.plan import dtypes, header, plugin_files, preflight, sidecar
from trtconv.engines.run import weight_streaming

_VALIDITY_BITS = (
    (1, "it was built by another version"),
    (2, "it was built for other compute capabilities"),
    (4, "the driver is too old"),
    (8, "the CUDA runtime is too old"),
    (16, "the GPU has too little memory"),
    (32, "it is malformed"),
    (64, "CUDA fails"),
)
"""Bits of EngineInvalidityDiagnostics; the same in TensorRT-RTX 1.4 to 1.7."""

_BESIDE = 64 << 20  # bytes of GPU memory, about, that a context takes beside its activations: streams, workspaces

_SHAPES_DECIDE = "N/A due to dynamic shapes"  # where TensorRT's inspector has no context that says them


class Engine:
    """A plan on a GPU. Close it after everything that was made from it.

    Attributes:
        path: of the plan.
        loaded: the TensorRT that runs it.
        device: the GPU.
        inputs: name, ONNX type and shape; a dynamic dimension is called ``<name>_dim<axis>``.
        outputs: likewise.
        profiles: ranges of the dynamic inputs.
        values: per profile, ranges of the values of inputs that decide shapes; empty where there are no such inputs.
        on_host: names of tensors that TensorRT wants in host memory (shape tensors).
        layers: how many it has.
        memory_loaded: bytes of GPU memory that loading took, with the weights that stay there.
        weights: how many of them do, of an engine that was built to stream them; None of others.
        one_at_a_time: to be held for all that is not a copy, a replay or a wait: contexts made and freed, shapes set,
            runs enqueued, graphs captured, memory allocated and freed (docs/runtime.md has the reasons).
    """

    def __init__(
        self, path: Path, loaded: Loaded, device: Device, emit: Emit, plan: bytes, loading: Loading = AS_USUAL
    ) -> None:
        self.path, self.loaded, self.device = path, loaded, device
        self.one_at_a_time = threading.RLock()
        self._log, logger = messages.listen(loaded)
        self._log.take()
        self._free_before = device.memory_info()[0]
        self._full: TrtRuntime | None = loaded.api.Runtime(logger)
        self._runtime: TrtRuntime | None = self._prepared(self._full, loading)
        self._engine: TrtICudaEngine | None = self._load(self._runtime, plan, emit)
        streaming = bool(loading.budget) or sidecar.features(path).streaming
        self.weights = weight_streaming.choose(self, loading.budget) if streaming else None
        self.memory_loaded = self.memory_used()
        self.layers = self.native.num_layers
        self._kernels = _Kernels(path) if loaded.can.jit else None
        names = [self.native.get_tensor_name(index) for index in range(self.native.num_io_tensors)]
        ins = [name for name in names if self._is_input(name)]
        self.inputs = tuple(self._info(name) for name in ins)
        self.outputs = tuple(self._info(name) for name in names if name not in ins)
        count = self.native.num_optimization_profiles
        self.profiles: tuple[Profile, ...] = tuple(self._profile(index) for index in range(count))
        deciding = [name for name in ins if self.native.is_shape_inference_io(name)]
        self.values: tuple[Profile, ...] = tuple(
            self._values(deciding, index) for index in range(count if deciding else 0)
        )
        host = loaded.api.TensorLocation.HOST.name
        self.on_host = frozenset(name for name in names if self.native.get_tensor_location(name).name == host)

    @property
    def native(self) -> TrtICudaEngine:
        """TensorRT's own object."""
        assert self._engine is not None, "the engine is closed"
        return self._engine

    @property
    def title(self) -> str:
        """What runs it, such as ``TensorRT-RTX 1.5.0.114 on NVIDIA H200``."""
        return f"{self.loaded.title} on {self.device.gpu.name}"

    @property
    def context_memory(self) -> int:
        """Bytes of GPU memory that a context takes beside its inputs and outputs."""
        return self.native.device_memory_size_v2

    def context(self, *, general: bool = False, lasting: bool = False) -> tuple[TrtIExecutionContext, object]:
        """A new execution context on profile 0, and what must be kept as long as it.

        That is its configuration, with the cache of kernels: choosing another profile reads it again, and TensorRT-RTX
        1.5 crashes where it is gone (its Python binding does not hold it).

        Args:
            general: use one set of kernels for all shapes instead of compiling some for each (TensorRT-RTX): a new
                shape then costs milliseconds instead of half a second, and a run some per cent more.
            lasting: it will have one shape for long, so half a second is worth a run of some per cent less: where a
                version runs slower with kernels that contexts share, it gets its own.

        Raises:
            EnvironmentProblem: not enough GPU memory.
        """
        with self.one_at_a_time:
            config, cache = self.native.create_runtime_config(), None
            if self._kernels is not None:
                alone = lasting and not general and not self.loaded.at_least(self.loaded.can.shares_since)
                cache = self._prepare_jit(config, self._kernels, general=general, alone=alone)
            context = self.native.create_execution_context(config)
            if context is None:
                free, needed = self.device.memory_info()[0], self.native.device_memory_size_v2 + _BESIDE
                raise cuda.out_of_memory(needed, free) if needed > free else self.failure("no execution context")
            return context, (config, cache)

    def layer_information(self) -> str:
        """What TensorRT tells of the layers, as JSON; their names only, unless the build asked for details."""
        form = self.loaded.api.LayerInformationFormat.JSON
        inspector = self.native.create_engine_inspector()
        told = inspector.get_engine_information(form)
        if _SHAPES_DECIDE in told and self.profiles:
            context, kept = self.context(general=True)
            for name, span in self.profiles[0].items():
                context.set_input_shape(name, span.optimum)
            inspector.execution_context = context
            told = inspector.get_engine_information(form)
            del inspector, context, kept  # in this order
        return told

    def failure(self, what: str) -> EnvironmentProblem:
        """The error for a run that TensorRT refused, with what its log says."""
        reasons = messages.errors(self._log.take()) or ["no reason given"]
        memory = any("outofmemory" in reason.lower().replace(" ", "") for reason in reasons)
        return (OutOfMemory if memory else EnvironmentProblem)(
            f"{self.path}: {what}: {'; '.join(reasons)}", hint=messages.hint_for(reasons) or "run trtconv doctor"
        )

    def memory_used(self) -> int:
        """Bytes of GPU memory that went away since before loading; other processes' changes are in it."""
        return max(self._free_before - self.device.memory_info()[0], 0)

    def close(self) -> None:
        """Free it, and keep the kernels compiled at run time beside it."""
        if self._engine is None:
            return
        if self._kernels is not None:
            self._kernels.store()
        self._kernels = None
        self._engine = None  # TensorRT frees with the last reference, engine before runtime
        self._runtime = self._full = None
        memory.give_back()

    def forget_log(self) -> None:
        """What TensorRT said so far is not about what comes next."""
        self._log.take()

    def _prepared(self, runtime: TrtRuntime, loading: Loading) -> TrtRuntime:
        """What the engine needs beside it, and leave for what it holds of its own."""
        needed, features = plugin_files.needed(self.path), sidecar.features(self.path)
        plugins.load(self.loaded, [spec for spec in needed if not spec.embed])
        if loading.lean_runtime is not None:
            lean = runtime.load_runtime(str(loading.lean_runtime))
            if lean is None:
                raise self.failure(f"{loading.lean_runtime} is no lean runtime that can run it")
            runtime = lean
        if any(spec.embed for spec in needed) or features.lean == "embedded_runtime":
            runtime.engine_host_code_allowed = True
        if features.dla is not None:
            runtime.DLA_core = features.dla.core
        return runtime

    def _load(self, runtime: TrtRuntime, plan: bytes, emit: Emit) -> TrtICudaEngine:
        head = header.read(self.path)
        worries = list(preflight.doubts(self.path, head, self.loaded, self.device.gpu))
        if self.loaded.can.validity:
            worries += self._judged(with_validity(runtime, self.loaded.can).get_engine_validity(plan[: header.SIZE]))
        engine = runtime.deserialize_cuda_engine(plan)
        reasons = [*messages.errors(self._log.take()), *worries]
        if engine is None:
            raise EnvironmentProblem(
                f"{self.path} does not load on {self.device.gpu.name}: {'; '.join(reasons)}",
                hint="build it again on this machine with trtconv build",
            )
        for worry in worries:
            emit(Message(f"{self.path.name}: {worry}; it loads all the same", "warning"))
        return engine

    def _judged(self, verdict: tuple[object, int]) -> list[str]:
        """TensorRT-RTX's own judgement is advice: 1.4 to 1.6 call engines invalid on GPUs where they run well."""
        bits = int(verdict[1])
        return [f"{self.loaded.title} says {text}" for bit, text in _VALIDITY_BITS if bits & bit]

    def _prepare_jit(
        self, config: TrtIRuntimeConfig, kernels: _Kernels, *, general: bool, alone: bool
    ) -> RtxIRuntimeCache:
        api = rtx_module(self.loaded.api, self.loaded.can)
        jit = with_jit(config, self.loaded.can)
        strategies = api.DynamicShapesKernelSpecializationStrategy
        jit.dynamic_shapes_kernel_specialization_strategy = strategies.NONE if general else strategies.EAGER
        # Its built-in capture of CUDA graphs stays off: it concerns all threads, and whatever they allocate breaks it.
        cache = kernels.cache(jit.create_runtime_cache, alone=alone)
        jit.set_runtime_cache(cache)
        return cache

    def _is_input(self, name: str) -> bool:
        return self.native.get_tensor_mode(name).name == self.loaded.api.TensorIOMode.INPUT.name

    def _info(self, name: str) -> TensorInfo:
        shape = self.native.get_tensor_shape(name)
        dims = tuple(dim if dim >= 0 else f"{name}_dim{axis}" for axis, dim in enumerate(shape))
        return TensorInfo(name, dtypes.onnx_name(self.native.get_tensor_dtype(name)), dims)

    def _profile(self, index: int) -> dict[str, ShapeRange]:
        found = {}
        for info in self.inputs:
            if profiles.is_dynamic(info):
                low, opt, high = self.native.get_tensor_profile_shape(info.name, index)
                found[info.name] = ShapeRange(tuple(low), tuple(opt), tuple(high))
        return found

    def _values(self, names: Sequence[str], index: int) -> dict[str, ShapeRange]:
        bounds = {name: self.native.get_tensor_profile_values(index, name) for name in names}
        return {name: ShapeRange(*(tuple(bound) for bound in each)) for name, each in bounds.items()}


class _Kernels:
    """Kernels that TensorRT-RTX compiled at run time, in ``<engine>.kernels``: a second start needs no compilation."""

    def __init__(self, engine: Path) -> None:
        self.path = engine.with_name(engine.name + ".kernels")
        self._known = b""
        with contextlib.suppress(OSError):
            self._known = self.path.read_bytes()
        self._stored = len(self._known)
        self._last: dict[bool, RtxIRuntimeCache] = {}

    def cache(self, make: Callable[[], RtxIRuntimeCache], *, alone: bool) -> RtxIRuntimeCache:
        """The cache for a new context: one that all share, or one of its own with what was compiled until now.

        A file of another GPU, driver or version is refused by TensorRT and replaced later.
        """
        if alone or alone not in self._last:
            self._gather()
            cache = make()
            if self._known and not cache.deserialize(self._known):
                self._known, self._stored = b"", 0
            self._last[alone] = cache
        return self._last[alone]

    def store(self) -> None:
        """Write what was compiled if that grew; a folder that cannot be written costs only time."""
        self._gather()
        if len(self._known) > self._stored:
            with contextlib.suppress(OSError):
                files.write_bytes(self.path, self._known)
        self._last = {}

    def _gather(self) -> None:
        for cache in self._last.values():
            data = bytes(memoryview(cache.serialize()))
            if len(data) > len(self._known):
                self._known = data


def load(
    path: Path,
    backend: str = "auto",
    device_api: str = "auto",
    emit: Emit = ignore,
    device: Device | None = None,
    loading: Loading = AS_USUAL,
) -> Engine:
    """Load a plan on this machine's GPU.

    Args:
        path: the plan.
        backend: ``auto``, or the flavour that is demanded.
        device_api: ``auto``, ``cuda`` or ``pycuda``.
        emit: gets warnings.
        device: an open one to load it on; None: one of its own.
        loading: its weights, and what runs it.

    Raises:
        SourceError: not an engine.
        UsageError: a budget for weights that it does not stream, or has not so many of.
        EnvironmentProblem: it cannot run here; the message says why.
    """
    head = header.read(path)
    reasons = preflight.preflight(path, backend)
    if reasons:
        raise EnvironmentProblem(
            f"{path} cannot run here: {'; '.join(reasons)}",
            hint="backend: onnxruntime runs the typed ONNX model on the CPU",
        )
    for spec in plugin_files.needed(path):
        permission.require(f"the plugin {spec.python or spec.path}, which {path.name} needs,")
    if loading.lean_runtime is not None:
        permission.require(f"the lean runtime {loading.lean_runtime}")
    if sidecar.features(path).lean == "embedded_runtime":
        permission.require(f"the lean runtime inside {path.name}")
    with ThreadPoolExecutor(1) as side:  # what needs no GPU goes on while CUDA starts
        importing, reading = side.submit(tensorrt.load, head.flavor), side.submit(path.read_bytes)
        on = device or cuda.open_device(device_api)  # before the runtime: without a GPU its first use would crash
    try:
        return Engine(path, importing.result(), on, emit, reading.result(), loading)
    except BaseException:
        if device is None:
            on.close()
        raise

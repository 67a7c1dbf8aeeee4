"""A TensorRT and a GPU made of the recorded names and of host memory, for the code that needs both.

Objects have exactly the members of one recorded API: anything else is an AttributeError, and a method called with other
parameters is a TypeError. What they do is little: a parsed network computes ``y = 2 x`` on the batch that it is given.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from trtconv.adapters.cuda import HostBytes, Script
from trtconv.adapters.cuda_driver import Gpu
from trtconv.core.errors import EnvironmentProblem

RECORDS = Path(__file__).parents[1] / "data/trt_api"
H200 = Gpu(0, "NVIDIA H200", (9, 0), 141 << 30, False)
TAGS = {"tensorrt": b"ftrt", "tensorrt_rtx": b"vtrt"}


class Member:
    """A member of an enumeration."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number

    def __int__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return self.name


class Object:
    """An object of a recorded class, with the behaviour given for some of its members."""

    def __init__(self, fake: Fake, kind: str, **behaviour: Any) -> None:
        vars(self).update(_fake=fake, _kind=kind, _members=fake.classes[kind], _behaviour=behaviour)

    def __getattr__(self, name: str) -> Any:
        if name not in self._members:
            raise AttributeError(f"{self._fake.version}: {self._kind} has no {name}")
        overloads = self._members[name]
        if overloads is None:
            return self._behaviour[name]
        act = self._behaviour.get(name, lambda *_: None)

        def method(*args: Any, **kwargs: Any) -> Any:
            given = bind(overloads, args, kwargs)
            self._fake.calls.append((f"{self._kind}.{name}", given))
            return act(*given.values())

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if self._members.get(name, ()) is not None:
            raise AttributeError(f"{self._fake.version}: {self._kind} has no attribute {name} to set")
        self._fake.calls.append((f"{self._kind}.{name}", value))
        self._behaviour[name] = value


class _Streaming(Object):
    """An engine: the bindings say nothing where a budget is refused, it is just not there afterwards."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight_streaming_budget_v2" and self._fake.refuse_budget:
            self._fake.calls.append((f"{self._kind}.{name}", value))
        else:
            super().__setattr__(name, value)


def bind(overloads: list[list[str]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name, by the first overload that they fit."""
    for overload in overloads:
        names = [name.rstrip("=") for name in overload]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        complete = all(name.endswith("=") or name in given for name in overload)
        if len(args) <= len(names) and set(given) <= set(names) and complete:
            return given
    raise TypeError(f"{args} {kwargs} do not fit {overloads}")


class Fake:
    """The module. ``calls`` holds every call and every attribute set."""

    def __init__(self, record: str, model: Callable[[np.ndarray], np.ndarray] = lambda x: 2 * x) -> None:
        facts = json.loads((RECORDS / f"{record}.json").read_text())
        self.classes, self.version, self.module = facts["classes"], facts["version"], facts["module"]
        self.__version__ = self.version
        self.calls: list[tuple[str, Any]] = []
        self.model = model
        self.plan = _plan(TAGS[self.module], self.version)
        self.refuse_plan = False
        self.says: list[tuple[str, str]] = []
        self.layers = json.dumps({"Layers": ["conv", "relu"]})
        self.layers_at_first = ""
        self.depth = 2
        self.shape_inputs: dict[str, tuple[int, ...]] = {}
        self.libraries: dict[str, list[Any]] = {}
        self.creators: list[Any] = []
        self.streamable, self.automatic, self.refuse_budget = 0, 0, False
        self.dla_cores = 0
        self.refittable: list[str] = []
        self.missing: list[str] = []
        self.refits = True
        for name, members in self.classes.items():
            if isinstance(members, list):
                self._enum(name, members)
        base = {"__init__": lambda _self: None}
        for name in ("ILogger", "IProgressMonitor", "IProfiler", "IOutputAllocator", "IStreamWriter"):
            setattr(self, name, type(name, (), dict(base)))

    def _enum(self, name: str, members: list[str]) -> None:
        values = {member: Member(member, number) for number, member in enumerate(members)}
        setattr(self, name, SimpleNamespace(__members__=values, **values))

    def say(self, logger: Any) -> None:
        for severity, text in self.says:
            logger.log(Member(severity, 1), text)

    def Builder(self, logger: Any) -> Object:  # noqa: N802
        return Object(
            self,
            "Builder",
            create_network=lambda flags: self._network(),
            create_builder_config=lambda: self._config(),
            create_optimization_profile=lambda: Object(self, "IOptimizationProfile"),
            build_serialized_network=lambda network, config: self._build(logger),
            build_serialized_network_to_stream=lambda network, config, writer: self._stream(logger, writer),
            num_DLA_cores=self.dla_cores,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Object:  # noqa: N802
        return Object(self, "OnnxParser", parse=lambda model, path: True, num_errors=0)

    def Refitter(self, engine: Any, logger: Any) -> Object:  # noqa: N802
        return Object(
            self,
            "Refitter",
            get_all_weights=lambda: self.refittable,
            get_missing_weights=lambda: self.missing,
            refit_cuda_engine=lambda: self.refits,
        )

    def OnnxParserRefitter(self, refitter: Any, logger: Any) -> Object:  # noqa: N802
        reads = {"refit_from_file": lambda model: True, "refit_from_bytes": lambda model, path: True}
        return Object(self, "OnnxParserRefitter", **reads, num_errors=0)

    def Runtime(self, logger: Any) -> Object:  # noqa: N802
        behaviour: dict[str, Any] = {
            "deserialize_cuda_engine": lambda plan: self._load(logger),
            "load_runtime": lambda path: self.Runtime(logger) if Path(path).name in self.libraries else None,
        }
        if "get_engine_validity" in self.classes["Runtime"]:
            behaviour["get_engine_validity"] = lambda plan: (self.EngineValidity.INVALID, 2)
        return Object(self, "Runtime", **behaviour)

    def get_plugin_registry(self) -> Object:
        return Object(
            self,
            "IPluginRegistry",
            all_creators=self.creators,
            load_library=self._library,
            register_creator=lambda creator, space: self.creators.append(creator) or True,
        )

    def creator(self, name: str, version: str, **fields: str) -> Object:
        """A creator with fields of these kinds."""
        made = [Object(self, "PluginField", name=field, type=Member(kind, 1)) for field, kind in fields.items()]
        known = {"name": name, "plugin_version": version, "plugin_namespace": "", "field_names": made}
        return Object(self, "IPluginCreatorV3One", **known)

    def _library(self, path: str) -> object | None:
        self.creators += self.libraries.get(Path(path).name, [])
        return object() if Path(path).name in self.libraries else None

    def _network(self) -> Object:
        def tensor(name: str) -> Object:
            shape = self.shape_inputs.get(name, (-1, 4))
            return Object(
                self,
                "ITensor",
                name=name,
                dtype=self.DataType.FLOAT,
                shape=shape,
                is_shape_tensor=name in self.shape_inputs,
            )

        inputs = ("x", *self.shape_inputs)
        return Object(
            self,
            "INetworkDefinition",
            num_layers=3,
            num_inputs=len(inputs),
            num_outputs=1,
            get_input=lambda index: tensor(inputs[index]),
            get_output=lambda index: tensor("y"),
        )

    def _config(self) -> Object:
        cache = Object(self, "ITimingCache", serialize=lambda: b"times")
        return Object(
            self,
            "IBuilderConfig",
            add_optimization_profile=lambda profile: 0,
            set_compute_capability=lambda capability, index: True,
            get_timing_cache=lambda: cache,
            create_timing_cache=lambda data: cache,
            set_timing_cache=lambda cache, ignore: True,
        )

    def _build(self, logger: Any) -> bytes | None:
        self.say(logger)
        return None if self.refuse_plan else self.plan

    def _stream(self, logger: Any, writer: Any) -> bool:
        plan = self._build(logger)
        return plan is not None and all(writer.write(part) == len(part) for part in (plan[:7], plan[7:]))

    def _load(self, logger: Any) -> Object | None:
        self.say(logger)
        return None if self.refuse_plan else self._engine()

    def _engine(self) -> Object:
        shape = {"min": (1, 4), "opt": (8, 4), "max": (32, 4)}
        wide = {"min": (33, 4), "opt": (64, 4), "max": (128, 4)}
        return _Streaming(
            self,
            "ICudaEngine",
            streamable_weights_size=self.streamable,
            weight_streaming_budget_v2=self.streamable,
            weight_streaming_scratch_memory_size=min(self.streamable, 1 << 10),
            get_weight_streaming_automatic_budget=lambda: self.automatic,
            num_io_tensors=2,
            num_optimization_profiles=2,
            device_memory_size_v2=1 << 20,
            num_layers=self.depth,
            get_tensor_name=lambda index: ("x", "y")[index],
            get_tensor_mode=lambda name: Member("INPUT" if name == "x" else "OUTPUT", 0),
            get_tensor_dtype=lambda name: self.DataType.FLOAT,
            get_tensor_shape=lambda name: (-1, 4),
            get_tensor_location=lambda name: Member("DEVICE", 0),
            get_tensor_profile_shape=lambda name, index: list((shape, wide)[index].values()),
            create_runtime_config=lambda: self._runtime_config(),
            create_engine_inspector=lambda: Object(
                self, "EngineInspector", get_engine_information=lambda form: self._told()
            ),
            create_execution_context=lambda config: self._context(),
            create_serialization_config=lambda: Object(self, "ISerializationConfig"),
            serialize_with_config=lambda config: self.plan + b"with other weights",
        )

    def _told(self) -> str:
        """With dynamic shapes TensorRT tells formats only of a context that has shapes."""
        names = [name for name, _ in self.calls]
        informed = "EngineInspector.execution_context" in names and "IExecutionContext.set_input_shape" in names
        return self.layers if informed else self.layers_at_first or self.layers

    def _runtime_config(self) -> Object:
        behaviour: dict[str, Any] = {}
        if "create_runtime_cache" in self.classes["IRuntimeConfig"]:
            cache = Object(self, "IRuntimeCache", deserialize=lambda blob: True, serialize=lambda: b"kernels")
            behaviour["create_runtime_cache"] = lambda: cache
        return Object(self, "IRuntimeConfig", **behaviour)

    def _context(self) -> Object:
        state: dict[str, Any] = {"profile": 0, "shape": None, "address": {}}

        def set_shape(name: str, shape: tuple[int, ...]) -> bool:
            low, high = ((1, 32), (33, 128))[state["profile"]]
            state["shape"] = shape
            return bool(low <= shape[0] <= high)

        def run(stream: int) -> bool:
            if context._behaviour.get("profiler"):
                for layer, ms in (("conv", 2.0), ("relu", 0.5)):
                    context._behaviour["profiler"].report_layer_time(layer, ms)
            x = read(state["address"]["x"], state["shape"])
            write(state["address"]["y"], self.model(x).astype(np.float32))
            return True

        def choose(index: int, stream: int) -> bool:
            state["profile"] = index
            return True

        def place(name: str, address: int) -> bool:
            state["address"][name] = address
            return True

        context = Object(
            self,
            "IExecutionContext",
            set_input_shape=set_shape,
            execute_async_v3=run,
            set_optimization_profile_async=choose,
            set_tensor_address=place,
            get_tensor_shape=lambda name: state["shape"],
        )
        return context


def read(address: int, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * 4
    return np.frombuffer(ctypes.string_at(address, size), np.float32).reshape(shape)


def write(address: int, values: np.ndarray) -> None:
    ctypes.memmove(address, values.tobytes(), values.nbytes)


def _plan(tag: bytes, version: str) -> bytes:
    """A header as plans have it, and nothing behind it."""
    numbers = bytes(int(part) for part in version.split(".")[:4])
    head = bytearray(64)
    head[:4], head[24:28] = tag, numbers
    head[16:24], head[32:36] = (64).to_bytes(8, "little"), (0x7E).to_bytes(4, "little")
    return bytes(head)


class FakeDevice:
    """A GPU whose memory is the host's and whose streams run at once; ``live`` counts what is not yet closed."""

    api = "cuda"

    def __init__(self, captures: bool = True, free: int = 1 << 40) -> None:
        self.gpu, self.captures, self.free = H200, captures, free
        self.live = self.launches = 0
        self.closed = False
        self.threads_entered = 0

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self.threads_entered += 1
        yield

    def memory_info(self) -> tuple[int, int]:
        return self.free, 1 << 40

    def memory(self, size: int) -> Any:
        self.free -= size
        return _Block(self, size)

    def pinned(self, size: int) -> Any:
        return _Block(self, size)

    def register(self, array: np.ndarray) -> Any:
        raise EnvironmentProblem("a pretended GPU has no driver")

    def module(self, ptx: bytes) -> Any:
        raise EnvironmentProblem("a pretended GPU compiles no kernels")

    def stream(self) -> Any:
        return _Stream(self)

    def event(self, *, spin: bool = True) -> Any:
        return _Event(self, spin)

    def script(self) -> Script:
        return Script()

    def spans(self, pairs: Any) -> Callable[[], list[float]]:
        return lambda: [end.since(start) for start, end in pairs]

    def synchronize(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class _Owned:
    def __init__(self, device: FakeDevice) -> None:
        self.device: FakeDevice | None = device
        device.live += 1

    def close(self) -> None:
        if self.device is not None:
            self.device.live -= 1
            self.device = None


class _Block(_Owned):
    def __init__(self, device: FakeDevice, size: int) -> None:
        super().__init__(device)
        self.size, self.array = size, np.zeros(size, np.uint8)
        self.address = int(self.array.ctypes.data)


class _Event(_Owned):
    def __init__(self, device: FakeDevice, spin: bool) -> None:
        super().__init__(device)
        self.spin, self.time = spin, 0.0

    def record(self, stream: Any) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        assert self.time, "waiting for an event that was never recorded"

    def since(self, start: _Event) -> float:
        return (self.time - start.time) * 1e3


class _Graph(_Owned):
    def __init__(self, device: FakeDevice, work: Callable[[], None]) -> None:
        super().__init__(device)
        self.owner, self.work = device, work

    def launch(self, stream: Any) -> None:
        self.owner.launches += 1
        self.work()


class _Stream(_Owned):
    handle = 7

    def __init__(self, device: FakeDevice) -> None:
        super().__init__(device)
        self.owner = device

    def synchronize(self) -> None:
        pass

    def wait(self, event: Any) -> None:
        event.synchronize()

    def copy_in(self, target: int, source: HostBytes) -> None:
        ctypes.memmove(target, source.address, source.array.nbytes)

    def copy_out(self, target: HostBytes, source: int) -> None:
        ctypes.memmove(target.address, source, target.array.nbytes)

    def copy_within(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def capture(self, work: Callable[[], None]) -> _Graph:
        if not self.owner.captures:
            raise EnvironmentProblem("cannot capture")
        work()
        return _Graph(self.owner, work)

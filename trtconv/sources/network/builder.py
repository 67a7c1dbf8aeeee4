"""The builder and its configuration: what a script asks of them is kept, and building is where the script ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trtconv.sources.network.arrays import Dims
from trtconv.sources.network.definition import Network
from trtconv.sources.network.enums import ENUMS, Member, Severity, member
from trtconv.sources.network.recording import Finished, Refused, Spelled, where


class Logger:
    """``Logger``: TensorRT's own messages do not exist here, so nothing is said."""

    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self, min_severity: int = Severity.WARNING) -> None:
        self.min_severity = min_severity

    def log(self, severity: int, msg: str) -> None:
        """A message of the script itself."""


class Nothing:
    """Whatever a script does with CUDA or a runtime before it builds: every attribute and call is this again."""

    def __init__(self, *given: Any, **named: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *given: Any, **named: Any) -> Any:  # noqa: D102 - the class says it
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __int__(self) -> int:
        return 0


class Profile:
    """``IOptimizationProfile``."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Dims, ...]] = {}
        self.values: dict[str, tuple[tuple[int, ...], ...]] = {}
        self.extra_memory_target = 1.0

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - the API's names
        """Smallest, usual and largest shape of an input."""
        self.shapes[input] = (Dims(min), Dims(opt), Dims(max))

    def get_shape(self, input: str) -> list[Dims]:  # noqa: A002 - the API's name
        """What was set."""
        return list(self.shapes[input])

    def set_shape_input(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - the API's names
        """Smallest, usual and largest contents of an input that is a shape."""
        self.values[input] = (tuple(min), tuple(opt), tuple(max))

    def get_shape_input(self, input: str) -> list[tuple[int, ...]]:  # noqa: A002 - the API's name
        """What was set."""
        return list(self.values[input])

    def __bool__(self) -> bool:
        return True


class Config(Spelled):
    """``IBuilderConfig``; an attribute that nobody here needs is kept like any other."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.pools: dict[str, int] = {}
        self.set_flags = {member("BuilderFlag", "TF32")}
        self.int8_calibrator: Any = None
        self.profiling_verbosity = member("ProfilingVerbosity", "LAYER_NAMES_ONLY")
        self.default_device_type = member("DeviceType", "GPU")
        self.builder_optimization_level = 3
        self.DLA_core = -1
        self.calibration_profile: Profile | None = None

    def __enter__(self) -> Config:
        return self

    def __exit__(self, *error: object) -> None:
        """The API frees it here."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _IGNORED:
            return lambda *given, **named: None
        if name in _ATTRIBUTES:
            return None
        return super().__getattr__(name)

    @property
    def flags(self) -> int:
        """As a bit mask."""
        return sum(1 << int(flag) for flag in self.set_flags)

    @flags.setter
    def flags(self, mask: int) -> None:
        self.set_flags = {flag for flag in ENUMS["BuilderFlag"] if int(mask) >> int(flag) & 1}

    @property
    def max_workspace_size(self) -> int:
        """Bytes; until 8.4 a property, since then a memory pool."""
        return self.pools.get("WORKSPACE", 0)

    @max_workspace_size.setter
    def max_workspace_size(self, size: int) -> None:
        self.pools["WORKSPACE"] = int(size)

    def set_flag(self, flag: Member) -> None:
        """Turn a flag on."""
        self.set_flags.add(flag)

    def clear_flag(self, flag: Member) -> None:
        """Turn a flag off."""
        self.set_flags.discard(flag)

    def get_flag(self, flag: Member) -> bool:
        """Whether it is on."""
        return flag in self.set_flags

    def set_memory_pool_limit(self, pool: Member, pool_size: int) -> None:
        """Bytes of a memory pool."""
        self.pools[pool.name] = int(pool_size)

    def get_memory_pool_limit(self, pool: Member) -> int:
        """What was set."""
        return self.pools.get(pool.name, 0)

    def add_optimization_profile(self, profile: Profile) -> int:
        """Ranges of shapes."""
        if profile not in self.builder.profiles:
            self.builder.profiles.append(profile)
        number: int = self.builder.profiles.index(profile)
        return number

    @property
    def num_optimization_profiles(self) -> int:
        """How many."""
        return len(self.builder.profiles)

    def set_calibration_profile(self, profile: Profile) -> bool:
        """Shapes to calibrate with."""
        self.calibration_profile = profile
        return True

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802 - the API's name
        """There is no DLA here."""
        return False


_IGNORED = frozenset(
    [
        "set_device_type",
        "reset_device_type",
        "set_tactic_sources",
        "get_tactic_sources",
        "set_preview_feature",
        "get_preview_feature",
        "create_timing_cache",
        "set_timing_cache",
        "get_timing_cache",
        "set_quantization_flag",
        "clear_quantization_flag",
        "get_quantization_flag",
        "reset",
        "set_flags_for",
        "get_device_type",
        "is_device_type_set",
    ]
)
_ATTRIBUTES = frozenset(
    [
        "avg_timing_iterations",
        "min_timing_iterations",
        "engine_capability",
        "profile_stream",
        "algorithm_selector",
        "max_aux_streams",
        "hardware_compatibility_level",
        "plugins_to_serialize",
        "progress_monitor",
        "runtime_platform",
        "tiling_optimization_level",
        "quantization_flags",
        "l2_limit_for_tiling",
        "max_num_tactics",
        "num_avg_timing_iterations",
        "remote_auto_tuning_config",
    ]
)

_OLD_FLAGS = {
    "fp16_mode": "FP16",
    "half2_mode": "FP16",
    "int8_mode": "INT8",
    "strict_type_constraints": "STRICT_TYPES",
    "debug_sync": "DEBUG",
    "refittable": "REFIT",
}
"""What the builder itself had until version 7, by the flags of a configuration."""


class Builder(Spelled):
    """``Builder``.

    Args:
        ask: what a network answers about its tensors.
        done: told of the network that the script builds, before the script is ended.
    """

    platform_has_fast_fp16 = platform_has_fast_int8 = platform_has_tf32 = True
    num_DLA_cores = max_DLA_batch_size = 0  # noqa: N815 - the API's names

    def __init__(self, ask: Callable[[Network], Any], done: Callable[[Network], None]) -> None:
        state = self.__dict__
        state["ask"], state["done"] = ask, done
        state["networks"], state["profiles"] = [], []
        state["called_max_batch_size"] = False
        state["config"] = Config(self)
        state["max_batch_size"], state["max_threads"] = 1, 1
        state["error_recorder"] = state["gpu_allocator"] = state["logger"] = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OLD_FLAGS:
            (self.config.set_flag if value else self.config.clear_flag)(member("BuilderFlag", _OLD_FLAGS[name]))
        elif name in ("max_workspace_size", "int8_calibrator"):
            setattr(self.config, name, value)
        else:
            self.__dict__["called_max_batch_size"] |= name == "max_batch_size"
            self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:
        if name in _OLD_FLAGS:
            return self.config.get_flag(member("BuilderFlag", _OLD_FLAGS[name]))
        if name in ("max_workspace_size", "int8_calibrator"):
            return getattr(self.config, name)
        return super().__getattr__(name)

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *error: object) -> None:
        """The API frees it here."""

    def create_network(self, flags: int = 0) -> Network:
        """An empty network."""
        self.networks.append(Network(flags, self, self.ask))
        made: Network = self.networks[-1]
        return made

    def create_builder_config(self) -> Config:
        """A configuration; what the builder itself was told before stays."""
        fresh = Config(self)
        fresh.pools, fresh.set_flags = dict(self.config.pools), set(self.config.set_flags)
        fresh.int8_calibrator = self.config.int8_calibrator
        self.__dict__["config"] = fresh
        return fresh

    def create_optimization_profile(self) -> Profile:
        """Ranges of shapes, to be filled."""
        return Profile()

    def get_plugin_registry(self) -> Registry:
        """Where plugins are looked up."""
        return Registry()

    def is_network_supported(self, *given: Any) -> bool:
        """There is nothing to ask."""
        return True

    def reset(self, *given: Any) -> None:
        """Nothing to free."""

    def _build(self, network: Network, config: Config | None = None, *more: Any) -> None:
        if config is not None:
            self.__dict__["config"] = config
        self.done(network)
        raise Finished

    build_engine = build_cuda_engine = build_serialized_network = build_engine_with_config = _build
    build_serialized_network_to_stream = _build


class Registry:
    """``IPluginRegistry``: knows plugins by name only, so that they can be refused by it."""

    def __init__(self, *given: Any) -> None:
        pass

    error_recorder = None
    plugin_creator_list: tuple[Any, ...] = ()
    all_creators: tuple[Any, ...] = ()

    def get_plugin_creator(self, type: str, version: str = "1", plugin_namespace: str = "") -> Creator:  # noqa: A002
        """Something that makes the plugin."""
        return Creator(type)

    get_creator = get_plugin_creator

    def load_library(self, path: str) -> Nothing:
        """Plugins of a library are not run."""
        return Nothing()

    def register_creator(self, *given: Any) -> bool:
        """Likewise."""
        return True

    def deregister_library(self, handle: Any) -> None:
        """Likewise."""


class Creator:
    """A plugin creator."""

    field_names: tuple[Any, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def create_plugin(self, *given: Any, **named: Any) -> Plugin:
        """The plugin."""
        return Plugin(self.name)


class Plugin:
    """A plugin, which no network here takes; the refusal names it."""

    def __init__(self, plugin_type: str) -> None:
        self.plugin_type = plugin_type


def parser(name: str, instead: str) -> Callable[..., Any]:
    """A parser of TensorRT's: a file that trtconv reads itself, so that no script is needed."""

    def refuse(*given: Any, **named: Any) -> Any:
        raise Refused(f"{where()}: {name} reads a model file into the network", instead)

    return refuse

"""What a job may choose of a builder, and what a TensorRT, or this machine, has no choice of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.adapters import cuda_driver
from trtconv.adapters.tensorrt import Loaded
from trtconv.adapters.tensorrt_api import TrtBuilder, TrtIBuilderConfig
from trtconv.adapters.tensorrt_rtx_api import rtx_module
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import PLAIN, Dla, Features, PluginSpec, ShapeRange
from trtconv.engines.build import messages


@dataclass(frozen=True)
class Options:
    """How to build.

    Attributes:
        profiles: complete optimization profiles, by input.
        workspace: limit in bytes; None: TensorRT's default.
        targets: compute capabilities such as ``sm86``; empty: the default set.
        tf32: whether FP32 arithmetic may use TF32 (TensorRT's own default is that it may).
        timing_cache: file that keeps measured kernel times from build to build, so that a second one makes the same
            choices; for flavours that measure (see ``Capabilities.timing_cache``).
        level: of optimization, 0 to 5; None: TensorRT's default. For flavours that choose kernels.
        hardware: ``none``, ``ampere+`` or ``same_capability``: other GPUs that the engine must fit. Likewise.
        verbosity: what the engine keeps of its layers: ``names``, ``detailed`` or ``none``.
        values: ranges of the values of inputs that decide shapes, per profile and input.
        plugins: to load before parsing; those to embed go into the engine.
        features: what the engine shall be able to do.
    """

    profiles: Sequence[Mapping[str, ShapeRange]] = ()
    workspace: int | None = None
    targets: tuple[str, ...] = ()
    tf32: bool = False
    timing_cache: Path | None = None
    level: int | None = None
    hardware: str = "none"
    verbosity: str = "detailed"
    values: Sequence[Mapping[str, ShapeRange]] = ()
    plugins: tuple[PluginSpec, ...] = ()
    features: Features = PLAIN


def apply(loaded: Loaded, builder: TrtBuilder, config: TrtIBuilderConfig, options: Options) -> None:
    """Write the choices that are no limits and no profiles into a configuration.

    Raises:
        UsageError: this TensorRT, or this machine, does not have one of them.
        EnvironmentProblem: it takes a GPU.
    """
    api = loaded.api
    if options.verbosity != "names":
        kinds = api.ProfilingVerbosity
        config.profiling_verbosity = kinds.DETAILED if options.verbosity == "detailed" else kinds.NONE
    _require_tactics(loaded, options.level, options.hardware)
    _require_features(loaded, options.features)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.hardware != "none":
        levels = api.HardwareCompatibilityLevel
        config.hardware_compatibility_level = (
            levels.AMPERE_PLUS if options.hardware == "ampere+" else levels.SAME_COMPUTE_CAPABILITY
        )
    _set_flags(loaded, config, options.features)
    if options.features.dla is not None:
        _require_core(builder, options.features.dla)
        config.default_device_type = api.DeviceType.DLA
        config.DLA_core = options.features.dla.core


def _set_flags(loaded: Loaded, config: TrtIBuilderConfig, features: Features) -> None:
    flags = loaded.api.BuilderFlag
    asked = {
        flags.WEIGHT_STREAMING: features.streaming,
        flags.REFIT: features.refit,
        flags.STRIP_PLAN: features.stripped,
        # without this a stripped plan takes back no weights but its own all the same: said, since versions differ
        flags.REFIT_IDENTICAL: features.stripped and not features.refit,
        flags.VERSION_COMPATIBLE: features.lean != "none",
        flags.EXCLUDE_LEAN_RUNTIME: features.lean == "external_runtime",
        flags.GPU_FALLBACK: features.dla is not None and features.dla.gpu_fallback,
    }
    for flag, wanted in asked.items():
        if wanted:
            config.set_flag(flag)


def require(loaded: Loaded, named: Sequence[str], level: int | None, hardware: str, features: Features) -> None:
    """Refuse what a flavour, or this machine, has no choice of, before a model is there.

    Args:
        loaded: the flavour.
        named: targets, see ``Options``.
        level: likewise.
        hardware: likewise.
        features: likewise.

    Raises:
        UsageError: naming the key of the job.
        EnvironmentProblem: it takes a GPU.
    """
    _require_tactics(loaded, level, hardware)
    _require_features(loaded, features)
    if named:
        targets(loaded, named)
    if features.dla is not None:
        _require_core(loaded.api.Builder(messages.listen(loaded)[1]), features.dla)


def _require_tactics(loaded: Loaded, level: int | None, hardware: str) -> None:
    given = {"optimization_level": level is not None, "hardware_compatibility": hardware != "none"}
    asked = [name for name, said in given.items() if said]
    if asked and not loaded.can.tactics:
        raise UsageError(
            f"{loaded.title} chooses kernels at the first run: build.{asked[0]} changes nothing",
            hint="remove it (build.targets names GPUs), or choose build: {backend: tensorrt}",
        )


def _require_features(loaded: Loaded, features: Features) -> None:
    if features.lean != "none" and not loaded.can.lean_runtimes:
        raise UsageError(
            f"{loaded.title} has no lean runtime, and its engines run with the version that built them alone: "
            "build.version_compatibility cannot be",
            hint="remove it and build with each version that runs the engine, or choose build: {backend: tensorrt}",
        )
    if features.dla is not None:
        _require_accelerators(loaded)
    if (features.refit or features.stripped) and not cuda_driver.gpus():
        key = "strip_weights" if features.stripped else "refit"
        raise EnvironmentProblem(
            f"build.{key}: {loaded.title} builds such engines on a GPU only, and {cuda_driver.problem()}",
            hint=f"leave build.{key} out here: trtconv refit builds again where it cannot refit, and proves that the "
            "network is the same",
        )


def _require_accelerators(loaded: Loaded) -> None:
    if not loaded.can.dla:
        raise UsageError(
            f"{loaded.title} builds for GPUs only: build.dla is for TensorRT on a Jetson",
            hint="remove build.dla, or build on the Jetson with build: {backend: tensorrt}",
        )
    discrete = [gpu for gpu in cuda_driver.gpus()[:1] if not gpu.integrated]
    if discrete:
        raise UsageError(
            f"this machine has a {discrete[0].name}, and no deep-learning accelerator: a Jetson's chip has them",
            hint="remove build.dla, or build on the Jetson",
        )


def _require_core(builder: TrtBuilder, dla: Dla) -> None:
    count = builder.num_DLA_cores
    if dla.core >= count:
        raise UsageError(
            f"build.dla: core {dla.core} was asked for, and TensorRT finds {count} deep-learning accelerators here",
            hint=f"choose a core below {count}" if count else "remove build.dla",
        )


def targets(loaded: Loaded, wanted: Sequence[str]) -> Mapping[str, Any]:
    """TensorRT-RTX's compute capabilities by name, all of those wanted among them.

    Raises:
        UsageError: one is not there, or there are none.
    """
    if not loaded.can.targets:
        raise UsageError(
            f"{loaded.title} builds for this machine's GPU only, not for build.targets",
            hint="remove build.targets, or choose build: {backend: rtx}",
        )
    members = rtx_module(loaded.api, loaded.can).ComputeCapability.__members__
    known = {name.lower(): member for name, member in members.items() if name.startswith("SM")}
    wrong = [name for name in wanted if name.lower() not in known]
    if wrong:
        raise UsageError(
            f"{loaded.title} has no target {wrong[0]!r}; it has {', '.join(known)}",
            hint=did_you_mean(wrong[0], known) or "choose one of them",
        )
    return known

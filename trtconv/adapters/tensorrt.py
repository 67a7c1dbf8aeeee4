"""The door to TensorRT and TensorRT-RTX: two rows of one table, both usable in one process."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from trtconv.adapters import cuda_driver
from trtconv.adapters.tensorrt_api import (
    TrtApi,
    TrtILogger,
    TrtIOutputAllocator,
    TrtIProfiler,
    TrtIProgressMonitor,
    TrtIStreamWriter,
)
from trtconv.adapters.tensorrt_enum import Enum
from trtconv.adapters.tensorrt_rtx_api import Capabilities, Version
from trtconv.core import versions
from trtconv.core.errors import EnvironmentProblem, MissingPackage
from trtconv.core.extras import install_line
from trtconv.core.lazy import Later


@dataclass(frozen=True)
class Flavor:
    """One TensorRT.

    Attributes:
        name: as in a job's ``backend``.
        title: as people write it.
        module: what to import.
        distributions: packages that carry it, the most general first.
        extra: trtconv's extra that installs it.
        since: first version that trtconv supports.
        before: first version that it does not.
        ran: versions with which trtconv's tests ran engines on a GPU.
        built: versions with which they build engines.
        can: what it can do.
    """

    name: str
    title: str
    module: str
    distributions: tuple[str, ...]
    extra: str
    since: Version
    before: Version
    ran: tuple[Version, ...]
    built: tuple[Version, ...]
    can: Capabilities


FLAVORS: Mapping[str, Flavor] = {
    "tensorrt": Flavor(
        name="tensorrt",
        title="TensorRT",
        module="tensorrt",
        distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings"),
        extra="tensorrt",
        since=(10, 12),
        before=(12,),
        ran=(),
        built=(),
        can=Capabilities(
            builds_without_gpu=False,
            timing_cache=True,
            tactics=True,
            targets=False,
            validity=False,
            lean_runtimes=True,
            dla=True,
            jit=False,
            shares_since=(),
            int8_conv_since=(10,),
            plugins_since=(10,),
            plugin_operators=(),
            by_address=False,
            unversioned_library=None,
            runs_on=(((10,), (7, 5), (12, 1)),),
        ),
    ),
    "rtx": Flavor(
        name="rtx",
        title="TensorRT-RTX",
        module="tensorrt_rtx",
        distributions=("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
        extra="rtx",
        since=(1, 4),
        before=(1, 8),
        ran=((1, 4), (1, 5)),
        built=((1, 4), (1, 5), (1, 7)),
        can=Capabilities(
            builds_without_gpu=True,
            timing_cache=False,
            tactics=False,
            targets=True,
            validity=True,
            lean_runtimes=False,
            dla=False,
            jit=True,
            shares_since=(1, 5),
            int8_conv_since=(1, 7),
            plugins_since=(1, 7),
            plugin_operators=(("CausalConvWithState", frozenset({"ndim", "activation"})),),
            by_address=True,
            unversioned_library=("libtensorrt_rtx.so", "libtensorrt_rtx.so.1"),
            runs_on=(((1, 7), (7, 5), (8, 9)), ((1, 7), (12, 0), (12, 1)), ((1, 4), (7, 5), (12, 1))),
        ),
    ),
}

PLUGIN_OPERATORS = frozenset(name for flavor in FLAVORS.values() for name, _ in flavor.can.plugin_operators)
"""Operators of ONNX for which a parser looks for a plugin."""


@dataclass(frozen=True)
class Loaded:
    """A flavour that is imported.

    Attributes:
        flavor: its row.
        api: the module.
        version: such as ``1.7.1.116``.
    """

    flavor: Flavor
    api: TrtApi
    version: str

    @property
    def title(self) -> str:
        """``TensorRT-RTX 1.7.1.116``."""
        return f"{self.flavor.title} {self.version}"

    @property
    def can(self) -> Capabilities:
        """What it can do."""
        return self.flavor.can

    def at_least(self, version: Version) -> bool:
        """Whether this version is that one or later."""
        return as_numbers(self.version) >= version


@dataclass(frozen=True)
class Found:
    """What ``probe`` found of one flavour: its version (or "unknown", or empty), and why it cannot be used."""

    flavor: Flavor
    version: str
    problem: str


def as_numbers(version: str) -> Version:
    """``"1.7.1.116"`` as numbers; a suffix such as ``.post1`` is left out."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


@cache
def load(name: str) -> Loaded:
    """Import a flavour.

    Args:
        name: row of FLAVORS.

    Raises:
        MissingPackage: it is not installed.
        EnvironmentProblem: its version is not supported, or its libraries do not load.
    """
    flavor = FLAVORS[name]
    try:
        api = cast("TrtApi", importlib.import_module(flavor.module))
    except ModuleNotFoundError as error:
        if error.name != flavor.module:
            raise _broken(flavor, error) from error
        raise MissingPackage(flavor.module, flavor.extra, f"backend {name}") from None
    except (ImportError, OSError, RuntimeError) as error:  # a library of its own is missing
        raise _broken(flavor, error) from error
    problem = _unsupported(flavor, api.__version__)
    if problem:
        raise EnvironmentProblem(problem, hint=install_line(flavor.extra))
    return Loaded(flavor, api, api.__version__)


def tested(flavor: Flavor) -> str:
    """What trtconv's tests did with which versions, as a phrase."""
    if not flavor.built:
        return "only its recorded interface"
    ran, built = (", ".join(".".join(map(str, each)) for each in known) for known in (flavor.ran, flavor.built))
    return f"built with {built}; ran with {ran}"


def untested(flavor: Flavor, version: str, *, running: bool) -> str:
    """What to say of a version that trtconv's tests did not see; empty for one that they did.

    Args:
        flavor: any.
        version: of it.
        running: whether it is about to run an engine, or else to build one.
    """
    known = flavor.ran if running else flavor.built
    if version in ("", _UNKNOWN) or as_numbers(version)[:2] in known:
        return ""
    what = "run engines" if running else "build"
    return f"trtconv was not tested to {what} with {flavor.title} {version} (tested: {tested(flavor)})"


def probe() -> tuple[Found, ...]:
    """What is installed of every flavour, from package metadata: nothing is imported."""
    return tuple(_probe(flavor) for flavor in FLAVORS.values())


def choose(backend: str) -> Loaded:
    """The flavour for building, which is imported when somebody uses it: another process may be the one that builds.

    Args:
        backend: row of FLAVORS, or ``auto``: TensorRT where it is installed with a GPU, else TensorRT-RTX.

    Raises:
        EnvironmentProblem: the flavour is missing, unsupported, or needs a GPU that is not there.
    """
    name = backend if backend != "auto" else ("tensorrt" if _installed("tensorrt") and cuda_driver.gpus() else "rtx")
    loaded = _without_loading(FLAVORS[name]) or load(name)
    if not loaded.can.builds_without_gpu and not cuda_driver.gpus():
        raise EnvironmentProblem(
            f"{loaded.title} builds engines on a GPU only, and {cuda_driver.problem()}",
            hint="build: {backend: rtx} builds without a GPU",
        )
    return loaded


def _without_loading(flavor: Flavor) -> Loaded | None:
    """What metadata tell of a flavour; None where it is loaded, or they tell nothing."""
    version = "" if flavor.module in sys.modules else _installed(flavor.name)
    if version in ("", _UNKNOWN) or _unsupported(flavor, version):
        return None
    return Loaded(flavor, cast("TrtApi", Later(lambda: load(flavor.name).api)), version)


def logger(api: TrtApi, sink: Callable[[str, str], None]) -> TrtILogger:
    """A logger whose messages go to ``sink(severity, text)``.

    TensorRT keeps the first logger of a process for good and ignores later ones; make one per process and flavour.
    An exception in ``sink`` would be swallowed, so it must not raise.
    """

    class Log(api.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Enum, msg: str) -> None:
            sink(severity.name, msg)

    return cast("TrtILogger", Log())


def progress_monitor(
    api: TrtApi,
    on_start: Callable[[str, str | None, int], None],
    on_step: Callable[[str, int], None],
    on_finish: Callable[[str], None],
) -> TrtIProgressMonitor:
    """A monitor that passes on what it hears and never cancels; the callbacks must not raise."""

    class Monitor(api.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            on_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            on_step(phase_name, step)
            return True  # anything falsy cancels the build

        def phase_finish(self, phase_name: str) -> None:
            on_finish(phase_name)

    return cast("TrtIProgressMonitor", Monitor())


def stream_writer(api: TrtApi, on_piece: Callable[[bytes], int]) -> TrtIStreamWriter:
    """A writer that passes on what it is given; the callback tells how much of it was written, and must not raise."""

    class Writer(api.IStreamWriter):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def write(self, data: bytes) -> int:
            return on_piece(data)

    return cast("TrtIStreamWriter", Writer())


def profiler(api: TrtApi, on_layer: Callable[[str, float], None]) -> TrtIProfiler:
    """A profiler that passes on the name and the milliseconds of each layer of a run; it must not raise."""

    class Profiler(api.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            on_layer(layer_name, ms)

    return cast("TrtIProfiler", Profiler())


def output_allocator(
    api: TrtApi, resize: Callable[[int], int], told: Callable[[tuple[int, ...]], None]
) -> TrtIOutputAllocator:
    """An allocator for an output whose shape only the data decide.

    Args:
        api: of the flavour.
        resize: gets a number of bytes, returns the address of as many on the device; 0 makes the run fail.
        told: gets the shape when it is known; neither may raise.
    """

    class Allocator(api.IOutputAllocator):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return resize(size)

        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
            return resize(size)

        def notify_shape(self, tensor_name: str, shape: Sequence[int]) -> None:
            told(tuple(shape))

    return cast("TrtIOutputAllocator", Allocator())


_UNKNOWN = "unknown"


def _installed(name: str) -> str:
    """A flavour's version from its metadata; "unknown" where it was copied without them, empty where it is absent."""
    flavor = FLAVORS[name]
    told = next(iter(versions.of(flavor.distributions).values()), "")
    return told or (_UNKNOWN if importlib.util.find_spec(flavor.module) else "")


def _probe(flavor: Flavor) -> Found:
    version = _installed(flavor.name)
    problem = _unsupported(flavor, version) if version else f"not installed: {install_line(flavor.extra)}"
    return Found(flavor, version, problem)


def _unsupported(flavor: Flavor, version: str) -> str:
    if version == _UNKNOWN or flavor.since <= as_numbers(version) < flavor.before:
        return ""
    since, before = (".".join(map(str, v)) for v in (flavor.since, flavor.before))
    return f"{flavor.title} {version} is not supported: from {since} on, before {before}"


def _broken(flavor: Flavor, error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{flavor.title} is installed but does not load: {error}",
        hint=f"{install_line(flavor.extra)} --force-reinstall",
    )

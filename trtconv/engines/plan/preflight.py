"""Why an engine will not load on this machine, before TensorRT is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trtconv.adapters import cuda_driver, tensorrt
from trtconv.adapters.cuda_driver import Gpu
from trtconv.adapters.tensorrt import FLAVORS, Loaded
from trtconv.core.units import format_bytes
from trtconv.engines.plan import header, plugin_files, sidecar
from trtconv.engines.plan.header import Header

_TURING = (7, 5)
_AMPERE = (8, 0)


def preflight(engine: Path, backend: str = "auto") -> tuple[str, ...]:
    """Reasons, certain ones only, why an engine cannot run here; empty when it is worth trying.

    Args:
        engine: the plan.
        backend: ``auto``, or the flavour that is demanded.

    Raises:
        SourceError: not an engine.
        EnvironmentProblem: cut short.
    """
    return (*plugin_files.problems(engine), *_reasons(header.read(engine), backend), *_unfinished(engine))


def doubts(engine: Path, head: Header, loaded: Loaded, gpu: Gpu) -> tuple[str, ...]:
    """What speaks against an engine without being certain; told when loading fails."""
    return tuple(_doubts(engine, head, loaded, gpu))


def _reasons(head: Header, backend: str) -> Iterator[str]:
    flavor = FLAVORS[head.flavor]
    if backend not in ("auto", flavor.name):
        yield f"it is an engine of {flavor.title}, and backend {backend} was asked for"
    if not cuda_driver.gpus():
        yield cuda_driver.problem()
    found = next(found for found in tensorrt.probe() if found.flavor is flavor)
    if found.problem:
        yield found.problem if found.version else f"{flavor.title} is {found.problem}"
    for gpu in cuda_driver.gpus()[:1]:
        if head.targets and gpu.capability <= _TURING and "sm75" not in head.targets:
            yield f"it was built for {', '.join(head.targets)}, and {gpu.name} has compute capability {_cc(gpu)}"


def _unfinished(engine: Path) -> Iterator[str]:
    if sidecar.features(engine).stripped:
        yield "it holds no weights: trtconv refit ENGINE MODEL -o WHOLE puts them in"


def _doubts(engine: Path, head: Header, loaded: Loaded, gpu: Gpu) -> Iterator[str]:
    ours = ".".join(loaded.version.split(".")[:4])
    later = sidecar.features(engine).lean != "none" and tensorrt.as_numbers(head.version) < tensorrt.as_numbers(ours)
    if head.version and head.version != ours and not later:
        yield f"it was built by {loaded.flavor.title} {head.version}, and this is {loaded.version}"
    if head.targets and f"sm{gpu.capability[0]}{gpu.capability[1]}" not in head.targets:
        yield f"it was built for {', '.join(head.targets)}, and {gpu.name} has compute capability {_cc(gpu)}"
    if untested := tensorrt.untested(loaded.flavor, loaded.version, running=True):
        yield untested
    if not _seen_to_run(loaded, gpu):
        yield f"{loaded.title} is not known to run on compute capability {_cc(gpu)}"
    facts = sidecar.read(engine)
    if facts is None:
        return
    if facts.size != head.size:
        yield f"its sidecar describes an engine of {format_bytes(facts.size)}, this one has {format_bytes(head.size)}"
    built_on = facts.facts.get("gpu")
    fits_newer = facts.facts.get("hardware") == "ampere+" and gpu.capability >= _AMPERE
    if built_on and tuple(built_on["capability"]) != gpu.capability and not fits_newer:
        yield f"it was built on {built_on['name']}, and this is {gpu.name}"


def _seen_to_run(loaded: Loaded, gpu: Gpu) -> bool:
    rows = [row for row in loaded.can.runs_on if loaded.at_least(row[0])]
    newest = max(since for since, _, _ in rows)
    return any(low <= gpu.capability <= high for since, low, high in rows if since == newest)


def _cc(gpu: Gpu) -> str:
    return f"{gpu.capability[0]}.{gpu.capability[1]}"

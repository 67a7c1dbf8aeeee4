"""What a script asked of the builder: told to people, and the start of a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trtconv.sources.network import batch
from trtconv.sources.network.definition import Network
from trtconv.sources.network.enums import member

INT64_SHAPES = 10
"""Major version from which shapes are INT64."""

Shapes = dict[str, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True)
class Asked:
    """What was asked.

    Attributes:
        max_batch_size: of an implicit-batch network; 0: not said.
        workspace: bytes; 0: not said.
        flags: of the configuration, by name, without TF32.
        tf32: whether TF32 was left on.
        profiles: per profile, (min, opt, max) by input.
        calibrator: class of the script's calibrator; empty: none.
        cache: contents of the calibration cache that it reads; empty: none.
        ranges: dynamic ranges of tensors, (min, max) by name.
        half: inputs and outputs that the script wanted in half precision.
        reduced: layers whose precision the script set.
    """

    max_batch_size: int = 0
    workspace: int = 0
    flags: tuple[str, ...] = ()
    tf32: bool = True
    profiles: tuple[Shapes, ...] = ()
    calibrator: str = ""
    cache: str = ""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    half: tuple[str, ...] = ()
    reduced: int = 0


def of(network: Network, decision: batch.Decision) -> Asked:
    """Read it from the network and its builder."""
    builder = network.builder
    config = builder.config
    calibrator = config.int8_calibrator
    tensors = [*network.inputs, *(tensor for layer in network.layers for tensor in layer.outputs)]
    tf32 = member("BuilderFlag", "TF32")
    return Asked(
        max_batch_size=int(builder.max_batch_size) if builder.called_max_batch_size and decision.implicit else 0,
        workspace=config.pools.get("WORKSPACE", 0),
        flags=tuple(sorted(flag.name for flag in config.set_flags if flag != tf32)),
        tf32=tf32 in config.set_flags,
        profiles=tuple({k: tuple(tuple(s) for s in v) for k, v in p.shapes.items()} for p in builder.profiles),
        calibrator=type(calibrator).__name__ if calibrator is not None else "",
        cache=_cache(calibrator),
        ranges={tensor.name: tensor.dynamic_range for tensor in tensors if tensor.dynamic_range is not None},
        half=tuple(
            tensor.name for tensor in (*network.inputs, *network.outputs) if tensor.dtype.name in ("HALF", "BF16")
        ),
        reduced=sum(layer.precision is not None for layer in network.layers),
    )


def _cache(calibrator: Any) -> str:
    """The cache that a calibrator reads; its samples are not read, since nothing is calibrated here."""
    read = getattr(calibrator, "read_calibration_cache", None)
    if read is None:
        return ""
    for given in ((), (0,)):  # version 3 passed a length
        try:
            found = read(*given)
        except Exception:  # noqa: BLE001 - the script's own code, asked for something that it may not have
            continue
        return bytes(found).decode(errors="replace") if found else ""
    return ""


def notes(network: Network, decision: batch.Decision, asked: Asked) -> list[tuple[str, str]]:
    """What people should know: (level, text)."""
    style = "implicit" if decision.implicit else "explicit"
    level = "warning" if decision.guessed else "info"
    settle = "; source.implicit_batch settles it" if decision.guessed else ""
    found = [(level, f"the network has an {style} batch: {decision.reason}{settle}")]
    said = describe(asked)
    if said:
        found.append(("info", f"the script asked the builder for {', '.join(said)}: the job decides, see --emit-job"))
    if asked.half:
        found.append(("warning", f"half-precision inputs and outputs become FP32: {', '.join(asked.half)}"))
    if asked.reduced:
        found.append(
            (
                "warning",
                f"the precision that the script sets of {asked.reduced} layers is not kept: "
                "the job's precision and its keep rules decide",
            )
        )
    if asked.ranges:
        found.append(
            (
                "warning",
                f"dynamic ranges of {len(asked.ranges)} tensors are not in the ONNX model: "
                "--emit-job writes them as a calibration cache",
            )
        )
    if any(layer.kind_name == "assertion" for layer in network.layers):
        found.append(("info", "assertions of the script are left out"))
    return found


def describe(asked: Asked) -> list[str]:
    """Phrases such as ``batch size 8`` and ``FP16``."""
    parts = [f"batch size {asked.max_batch_size}"] if asked.max_batch_size else []
    parts += [f"a workspace of {asked.workspace / 2**20:g} MiB"] if asked.workspace else []
    parts += list(asked.flags)
    parts += [f"{len(asked.profiles)} optimization profile{'s' if len(asked.profiles) > 1 else ''}"] * bool(
        asked.profiles
    )
    if asked.calibrator:
        has = "with a cache" if asked.cache else "without a cache that is there"
        parts.append(f"the calibrator {asked.calibrator} {has}")
    return parts

"""Sections of a job as the stages' values, and as the plain options of a key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trtconv.core.records import FeedSpec, InputSpec, KeepRules, ShapeRange, TensorInfo
from trtconv.job.schema import Data, Job, Keep, Profile, Section

_PATHS = ("path", "cache", "data", "timing_cache")


def inputs(job: Job) -> tuple[InputSpec, ...]:
    """Shapes that the job asks for."""
    return tuple(InputSpec(n, None if i.shape is None else tuple(i.shape)) for n, i in job.inputs.items())


def shapes(job: Job) -> dict[str, Any]:
    """The same as plain values."""
    return {name: spec.shape for name, spec in job.inputs.items()}


def options(section: Section) -> dict[str, Any]:
    """A section without its paths: files enter a key by their contents, wherever they lie."""
    data = getattr(section, "data", None)
    values = {name: value for name, value in plain(section).items() if name not in _PATHS}
    return values if data is None else {**values, "data": options(data)}


def plain(section: Section | None) -> dict[str, Any]:
    """A section as JSON-like values; empty for one that is not there."""
    return {} if section is None else section.model_dump(mode="json")


def feed(data: Data) -> FeedSpec:
    """Samples."""
    return FeedSpec(data.path, data.labels, data.samples, tuple(data.preprocess))


def files(data: Data) -> dict[str, Path]:
    """The files that samples come from."""
    return {"data": data.path, **({"labels": Path(data.labels)} if data.labels.endswith(".npy") else {})}


def keep(section: Keep) -> KeepRules:
    """Nodes to leave alone."""
    return KeepRules(tuple(section.ops), tuple(section.names), section.limit)


def ranges(wanted: Mapping[str, Profile], interface: tuple[TensorInfo, ...]) -> tuple[Mapping[str, ShapeRange], ...]:
    """Profiles with full shapes; a single number stands for every dynamic dimension.

    A name that the model does not have stays: the build stage reports it with the names there are.
    """
    known = {tensor.name: tensor.shape for tensor in interface}
    found = {name: _range(profile, known.get(name, ())) for name, profile in wanted.items()}
    return (found,) if found else ()


def _range(profile: Profile, shape: tuple[int | str, ...]) -> ShapeRange:
    def full(bound: list[int]) -> tuple[int, ...]:
        if len(bound) > 1 or not shape:
            return tuple(bound)
        return tuple(dim if isinstance(dim, int) and dim > 0 else bound[0] for dim in shape)

    return ShapeRange(full(profile.min), full(profile.opt), full(profile.max))

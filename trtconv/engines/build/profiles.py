"""Optimization profiles: defaults, and every mistake found before TensorRT sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from trtconv.core import shape_inputs
from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import Dim, ShapeRange, TensorInfo

BATCH = (1, 8, 32)
"""Min, opt and max of the first dimension where nothing is said."""

_OTHER = (1, 128, 256)  # a start for dimensions that only the user can know

Profile = Mapping[str, ShapeRange]


def complete(inputs: Sequence[TensorInfo], profiles: Sequence[Profile]) -> tuple[Profile, ...]:
    """Check a job's profiles against a model's inputs, or make the default one.

    Args:
        inputs: of the model.
        profiles: the job's; empty for the default: batch 1, 8, 32 when only the first dimension is dynamic.

    Returns:
        Profiles that name every dynamic input; none for a model without dynamic inputs.

    Raises:
        UsageError: all problems at once, with the YAML to add.
    """
    dynamic = [info for info in inputs if is_dynamic(info)]
    if not profiles:
        return _default(dynamic)
    problems = [problem for number, profile in enumerate(profiles) for problem in _check(inputs, profile, number)]
    missing = [info for info in dynamic if any(info.name not in profile for profile in profiles)]
    problems += [f"input {info.name!r} of shape {_text(info)} is dynamic, but has no profile" for info in missing]
    if problems:
        hint = f"write in the job file:\n{_yaml(dynamic)}" if dynamic else "remove the profile"
        raise UsageError("optimization profile: " + "; ".join(problems), hint=hint)
    return tuple({info.name: profile[info.name] for info in dynamic} for profile in profiles) if dynamic else ()


def check_values(inputs: Sequence[TensorInfo], values: Sequence[Profile]) -> None:
    """Check the ranges given for the values of inputs that decide shapes; which ones do, only TensorRT knows.

    Args:
        inputs: of the model.
        values: per profile, input -> range with a number for every element.

    Raises:
        UsageError: all problems at once.
    """
    by_name = {info.name: info for info in inputs}
    problems = [
        problem for each in values for name, span in each.items() for problem in _check_values(name, span, by_name)
    ]
    if problems:
        raise UsageError("values of inputs: " + "; ".join(dict.fromkeys(problems)), hint="correct inputs.NAME.values")


def nth(ranges: Sequence[Profile], number: int) -> Profile:
    """The ranges of one profile; where there are fewer, they begin anew."""
    return ranges[number % len(ranges)] if ranges else {}


def values_yaml(shapes: Mapping[str, Sequence[int]]) -> str:
    """What to write for inputs whose values decide shapes."""
    lines = ["inputs:"]
    for name, shape in shapes.items():
        low, opt, high = ([size] * max(math.prod(shape), 1) for size in BATCH)
        lines += [f"  {name}:", f"    values: {{min: {low}, opt: {opt}, max: {high}}}"]
    return "\n".join(lines)


def is_dynamic(info: TensorInfo) -> bool:
    """Whether any dimension is open."""
    return any(not _fixed(dim) for dim in info.shape)


def as_samples(
    inputs: Sequence[TensorInfo], profiles: Sequence[Profile], axes: Mapping[str, int | None]
) -> tuple[tuple[TensorInfo, ...], tuple[Profile, ...]]:
    """Inputs and profiles with the axis first that counts samples; those that are left out have it there.

    Args:
        inputs: of a model.
        profiles: of its engine.
        axes: by input; None where each sample is the whole input.
    """
    elsewhere = {name: axis for name, axis in axes.items() if axis}

    def moved(sizes: Sequence[Dim], axis: int) -> tuple[Any, ...]:
        return (*sizes[axis : axis + 1], *sizes[:axis], *sizes[axis + 1 :])

    def span(r: ShapeRange, axis: int) -> ShapeRange:
        return ShapeRange(moved(r.minimum, axis), moved(r.optimum, axis), moved(r.maximum, axis))

    return (
        tuple(replace(info, shape=moved(info.shape, elsewhere.get(info.name, 0))) for info in inputs),
        tuple({name: span(r, elsewhere.get(name, 0)) for name, r in profile.items()} for profile in profiles),
    )


def least_batch(allowed: Sequence[Profile]) -> int:
    """Samples that a run takes at least; 1 without profiles."""
    return min((span.minimum[0] for profile in allowed for span in profile.values() if span.minimum), default=1)


def most_samples(allowed: Sequence[Profile], axes: Mapping[str, int | None]) -> int | None:
    """Samples that a run takes at most, along the axis of each input that counts them; None: no profile says.

    Of several profiles the widest counts.
    """
    rooms = []
    for profile in allowed:
        sizes = [span.maximum[axis] for name, span in profile.items() if (axis := axes.get(name)) is not None]
        rooms += [min(sizes)] if sizes else []
    return max(rooms, default=None)


def covers(profile: Profile, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether shapes lie inside a profile; inputs that it does not name are static."""
    return all(
        all(low <= dim <= high for low, dim, high in zip(r.minimum, shapes[name], r.maximum, strict=True))
        for name, r in profile.items()
        if name in shapes
    )


def choose(
    profiles: Sequence[Profile],
    shapes: Mapping[str, Sequence[int]],
    values: Sequence[Profile] = (),
    held: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> int:
    """Number of the first profile that covers what is given; 0 when there are no profiles, which sets no limits.

    Args:
        profiles: ranges of shapes.
        shapes: of the inputs.
        values: per profile, ranges of the values of inputs that decide shapes.
        held: what these inputs hold.

    Raises:
        UsageError: none does; says what was given and what the profiles allow.
    """
    for number in range(max(len(profiles), len(values))):
        if covers(nth(profiles, number), shapes) and covers(nth(values, number), held):
            return number
    if not profiles and not values:
        return 0
    for name in [name for name in held if not any(covers(p, {name: held[name]}) for p in values)]:
        raise UsageError(
            f"input {name!r} holds {list(held[name])}; the engine was built for {_allowed(values, name)}",
            hint=f"give other values, or build with a wider range in inputs.{name}.values",
        )
    outside = [name for name in shapes if not any(covers(p, {name: shapes[name]}) for p in profiles)]
    name = outside[0] if outside else next(iter(shapes))
    beside = "".join(f", and input {other!r} holds {list(held[other])}" for other in held if not outside)
    raise UsageError(
        f"input {name!r} has shape {list(shapes[name])}{beside}; the engine was built for {_allowed(profiles, name)}",
        hint="use a smaller batch, or build with a wider profile",
    )


def _allowed(ranges: Sequence[Profile], name: str) -> str:
    return " or ".join(f"{list(p[name].minimum)} to {list(p[name].maximum)}" for p in ranges if name in p)


def optimum(values: Sequence[Profile], number: int = 0) -> dict[str, tuple[int, ...]]:
    """What a profile is optimized for."""
    return {name: span.optimum for name, span in nth(values, number).items()}


def usual_batch(
    inputs: Sequence[TensorInfo], profiles: Sequence[Profile], values: Sequence[Profile] = ()
) -> int | None:
    """Samples per run that a model is made for: the first profile's opt, or its fixed batch; None when nothing says."""
    shaped = [info for info in with_samples(inputs, values) if info.shape]
    for info in shaped:
        if profiles and info.name in profiles[0] and not _fixed(info.shape[0]):
            return profiles[0][info.name].optimum[0]
    sizes = [int(info.shape[0]) for info in shaped if _fixed(info.shape[0])]
    return max(sizes, key=lambda size: sum(size in info.shape for info in shaped), default=None)


def shapes_at(
    inputs: Sequence[TensorInfo], profiles: Sequence[Profile], batch: int, values: Sequence[Profile] = ()
) -> dict[str, tuple[int, ...]]:
    """Full shapes of all inputs for one batch size; other dynamic dimensions are the profile's opt, or 1.

    Raises:
        UsageError: a fixed batch, or profiles, that do not allow it; a batch where no input holds samples.
    """
    samples = with_samples(inputs, values)
    if inputs and not samples and batch != 1:
        raise UsageError(f"no input holds samples, and a batch of {batch} was asked for", hint="leave the batch out")
    sizes = [info.shape[0] for info in samples if info.shape]
    if sizes and all(map(_fixed, sizes)) and batch not in sizes:
        raise UsageError(
            f"input {samples[0].name!r} has a fixed batch of {sizes[0]}, and {batch} was asked for",
            hint="leave the batch out, or convert the model with a dynamic first dimension",
        )
    fixed = {info.name: tuple(int(dim) for dim in info.shape) for info in inputs if info not in samples}
    shapes = {info.name: fixed.get(info.name, ()) or _shape_at(info, profiles, batch) for info in inputs}
    choose(profiles, shapes)
    return shapes


def with_samples(inputs: Sequence[TensorInfo], values: Sequence[Profile]) -> list[TensorInfo]:
    """Inputs whose values are data, not shapes."""
    taken = shape_inputs.names(inputs, nth(values, 0))
    return [info for info in inputs if info.name not in taken]


def _shape_at(info: TensorInfo, profiles: Sequence[Profile], batch: int) -> tuple[int, ...]:
    opt = profiles[0][info.name].optimum if profiles and info.name in profiles[0] else (1,) * len(info.shape)
    return tuple(
        dim if isinstance(dim, int) and dim >= 0 else (opt[axis] if axis else batch)
        for axis, dim in enumerate(info.shape)
    )


def _default(dynamic: Sequence[TensorInfo]) -> tuple[Profile, ...]:
    open_elsewhere = [info for info in dynamic if not all(_fixed(dim) for dim in info.shape[1:])]
    if open_elsewhere:
        names = ", ".join(f"{info.name!r} of shape {_text(info)}" for info in open_elsewhere)
        raise UsageError(
            f"a profile is needed: more than the first dimension is dynamic in input {names}",
            hint=f"add to the job file, with your own sizes:\n{_yaml(dynamic)}",
        )
    return ({info.name: _suggestion(info) for info in dynamic},) if dynamic else ()


def _check(inputs: Sequence[TensorInfo], profile: Profile, number: int) -> list[str]:
    by_name = {info.name: info for info in inputs}
    problems = []
    for name, span in profile.items():
        if name not in by_name:
            hint = did_you_mean(name, by_name) or f"the inputs are {', '.join(by_name)}"
            problems.append(f"profile {number} names an unknown input {name!r} ({hint})")
        else:
            problems += _check_range(by_name[name], span)
    return problems


def _check_range(info: TensorInfo, span: ShapeRange) -> list[str]:
    rank = len(info.shape)
    for bound, shape in (("min", span.minimum), ("opt", span.optimum), ("max", span.maximum)):
        if len(shape) != rank:
            return [f"{bound} of {info.name!r} has {len(shape)} dimensions, the input {_text(info)} has {rank}"]
        for axis, (dim, size) in enumerate(zip(info.shape, shape, strict=True)):
            least = 0 if bound == "min" else 1
            if size < least:
                return [f"{bound} of {info.name!r} has {size} at dimension {axis}, expected at least {least}"]
            if _fixed(dim) and dim != size:
                return [f"{bound} of {info.name!r} has {size} at dimension {axis}, where the model has a fixed {dim}"]
    if any(not a <= b <= c for a, b, c in zip(span.minimum, span.optimum, span.maximum, strict=True)):
        return [
            f"{info.name!r} needs min <= opt <= max, got {list(span.minimum)}, {list(span.optimum)}, "
            f"{list(span.maximum)}"
        ]
    return []


def _check_values(name: str, span: ShapeRange, by_name: Mapping[str, TensorInfo]) -> list[str]:
    if name not in by_name:
        hint = did_you_mean(name, by_name) or f"the inputs are {', '.join(by_name)}"
        return [f"an unknown input {name!r} ({hint})"]
    info = by_name[name]
    if info.dtype not in ("int32", "int64") or is_dynamic(info):
        return [
            f"{name!r} is {info.dtype} of shape {_text(info)}; values decide shapes in integer inputs of fixed size"
        ]
    wanted = math.prod(int(dim) for dim in info.shape)
    return [
        f"{bound} of {name!r} has {len(given)} numbers, the input {_text(info)} has {wanted}"
        for bound, given in (("min", span.minimum), ("opt", span.optimum), ("max", span.maximum))
        if len(given) != wanted
    ][:1]


def _suggestion(info: TensorInfo) -> ShapeRange:
    def bound(which: int) -> tuple[int, ...]:
        return tuple(
            dim if isinstance(dim, int) and dim >= 0 else (_OTHER if axis else BATCH)[which]
            for axis, dim in enumerate(info.shape)
        )

    return ShapeRange(bound(0), bound(1), bound(2))


def _yaml(dynamic: Sequence[TensorInfo]) -> str:
    lines = ["inputs:"]
    for info in dynamic:
        r = _suggestion(info)
        lines += [
            f"  {info.name}:",
            f"    profile: {{min: {list(r.minimum)}, opt: {list(r.optimum)}, max: {list(r.maximum)}}}",
        ]
    return "\n".join(lines)


def _fixed(dim: int | str) -> bool:
    return isinstance(dim, int) and dim >= 0


def _text(info: TensorInfo) -> str:
    return f"[{', '.join(str(dim) for dim in info.shape)}]"

"""The corners of optimization profiles: minimum, optimum, maximum and one odd shape of each, made from the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtconv.core.errors import TrtconvError
from trtconv.core.events import Emit, Message
from trtconv.core.records import Comparison, ShapeRange
from trtconv.data.compare import OutputMeter
from trtconv.data.feeds import open_feed
from trtconv.engines.plan import manifest
from trtconv.graph import model_io, strict
from trtconv.stages.verify.bounds import of_output
from trtconv.stages.verify.comparing import open_model
from trtconv.stages.verify.records import Bound, Corner, VerifyRequest

Profile = Mapping[str, ShapeRange]
Shapes = Mapping[str, tuple[int, ...]]
_OF_THE_REFERENCE = "the reference "


def corners(request: VerifyRequest, label: str, runner: Any, bound: Bound, emit: Emit) -> tuple[Corner, ...]:
    """A candidate beside the FP32 model at every corner; none where no engine among the candidates has profiles.

    Raises:
        UsageError: samples that do not fit.
    """
    profiles, values = _profiles(request)
    places = [(number, *place) for number, profile in enumerate(profiles) for place in _places(profile)]
    if not places:
        return ()
    reference = _reference(request)
    if reference is None:
        why = "no FP32 ONNX model is among the models"
        return tuple(Corner(number, name, dict(shapes), problem=why) for number, name, shapes in places)
    with closing(open_model(reference)) as wanted:
        most = max(shape[0] for _, _, shapes in places for shape in shapes.values() if shape)
        arrays = _samples(request, wanted, most)
        found = []
        for number, name, shapes in places:
            emit(Message(f"comparing {label} at the {name} of profile {number}"))
            feeds = _feeds(arrays, shapes, values[number % len(values)] if values else {}, name)
            found.append(_compared(Corner(number, name, dict(shapes)), wanted, runner, feeds, bound))
    return tuple(found)


def _profiles(request: VerifyRequest) -> tuple[tuple[Profile, ...], tuple[Profile, ...]]:
    """Of the first engine that has any, as its sidecar says."""
    for path in request.candidates.values():
        found = manifest.ranges_of(path)
        if found[0]:
            return found
    return (), ()


def _reference(request: VerifyRequest) -> Path | None:
    """What computes other shapes than the samples': stored outputs cannot."""
    models = [request.reference, *request.candidates.values()]
    found = (path for path in models if path.suffix.lower() == ".onnx")
    return next((path for path in found if not strict.needed(model_io.load(path, weights=False))), None)


def _places(profile: Profile) -> Iterator[tuple[str, Shapes]]:
    """Names and shapes, those that repeat another left out."""
    spans = {name: (span.minimum, span.optimum, span.maximum) for name, span in profile.items()}
    all_of = {place: {n: span[at] for n, span in spans.items()} for at, place in enumerate(("min", "opt", "max"))}
    if (between := odd(profile)) is not None:
        all_of["odd"] = between
    seen: list[Shapes] = []
    for name, shapes in all_of.items():
        if shapes not in seen:
            seen.append(shapes)
            yield name, shapes


def odd(profile: Profile) -> dict[str, tuple[int, ...]] | None:
    """Shapes between two corners, as many dimensions odd as can be; None where there are none.

    All dimensions go the same part of the way, in whole steps, so that what holds at both corners (one length is the
    sum of two others) holds between them too.
    """
    for low, high in (("optimum", "maximum"), ("minimum", "maximum"), ("minimum", "optimum")):
        ends = {name: (getattr(span, low), getattr(span, high)) for name, span in profile.items()}
        ways = {name: tuple(b - a for a, b in zip(*pair, strict=True)) for name, pair in ends.items()}
        steps = math.gcd(*(way for dims in ways.values() for way in dims))
        middle = [_along(ends, ways, at, steps) for at in range(1, steps)]
        middle = [shapes for shapes in middle if any(shapes[n] != span.optimum for n, span in profile.items())]
        if middle:
            best = max(map(_oddness, middle))
            chosen = [shapes for shapes in middle if _oddness(shapes) == best]
            return chosen[len(chosen) // 2]
    return None


def _along(ends: Mapping[str, Any], ways: Mapping[str, Any], at: int, steps: int) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(first + way // steps * at for first, way in zip(ends[name][0], ways[name], strict=True))
        for name in ends
    }


def _oddness(shapes: Shapes) -> int:
    return sum(dim % 2 for shape in shapes.values() for dim in shape)


def _samples(request: VerifyRequest, runner: Any, count: int) -> dict[str, NDArray[Any]]:
    """Some samples of one shape."""
    from trtconv.engines.build import profiles

    data = replace(request.data, values={**profiles.optimum(runner.values), **request.data.values})
    feed = open_feed(data, runner.inputs)
    return next(feed.batches(max(min(count, len(feed)), 1)))


def _feeds(arrays: Mapping[str, NDArray[Any]], shapes: Shapes, values: Profile, place: str) -> dict[str, NDArray[Any]]:
    bound = {"min": "minimum", "max": "maximum"}.get(place, "optimum")
    held = {name: np.array(getattr(span, bound), arrays[name].dtype) for name, span in values.items() if name in arrays}
    feeds = {name: resized(array, shapes.get(name, array.shape)) for name, array in arrays.items()}
    return {**feeds, **{name: array.reshape(feeds[name].shape) for name, array in held.items()}}


def resized(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array cut, or repeated, along every axis; zeros where there is nothing to repeat."""
    if not array.size and 0 not in shape:
        return np.zeros(shape, array.dtype)
    for axis, size in enumerate(shape):
        if size != array.shape[axis]:
            array = np.take(array, np.arange(size) % max(array.shape[axis], 1), axis)
    return np.ascontiguousarray(array)


def _compared(corner: Corner, wanted: Any, runner: Any, feeds: Mapping[str, Any], bound: Bound) -> Corner:
    """A corner with its figures, or with why there are none; the candidate's refusal of what FP32 takes is a fault."""
    try:
        expected = wanted.run(feeds)
    except TrtconvError as refusal:
        return replace(corner, problem=f"the FP32 model refuses it: {refusal.message}")
    try:
        got = runner.run(feeds)
    except TrtconvError as refusal:
        return replace(corner, fault=refusal.message)
    return _judged(corner, [_comparison(name, array, got[name]) for name, array in expected.items()], bound)


def _comparison(name: str, expected: NDArray[Any], got: NDArray[Any]) -> Comparison:
    meter = OutputMeter(name)
    if expected.shape == got.shape:
        meter.add(expected, got)
        return meter.comparison()
    shapes = f"it has shape {list(got.shape)}, FP32 {list(expected.shape)}"
    return replace(meter.comparison(), finite=False, trouble=shapes)


def _judged(corner: Corner, found: list[Comparison], bound: Bound) -> Corner:
    """The worst output's figures; one that says nothing at this shape (one class, no token) is left out."""
    telling = [one for one in found if not one.trouble.startswith(_OF_THE_REFERENCE)]
    if not telling:
        return replace(corner, problem=found[0].trouble if found else "the model has no outputs")
    worst = min(telling, key=lambda one: (one.finite, not one.trouble, one.snr_db))
    faults = [f"output {one.output!r} {what}" for one in telling if (what := of_output(one, bound, "FP32"))]
    return replace(corner, worst=worst, fault="; ".join(faults))

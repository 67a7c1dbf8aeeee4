"""Shapes of a benchmark's inputs for so many samples, along whichever axis they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtconv.core.records import FeedSpec

if TYPE_CHECKING:
    from trtconv.engines.run.runner import Runner


def usual(runner: Runner, data: FeedSpec | None) -> int:
    """Samples per run where the request does not say."""
    from trtconv.engines.build import profiles

    inputs, spans = profiles.as_samples(runner.inputs, runner.profiles, _axes(runner, data))
    return profiles.usual_batch(inputs, spans, runner.values) or 1


def shapes(runner: Runner, data: FeedSpec | None, batch: int) -> dict[str, tuple[int, ...]]:
    """Of all inputs.

    Raises:
        UsageError: the model does not take so many.
    """
    from trtconv.data import sample_axes
    from trtconv.engines.build import profiles

    axes = _axes(runner, data)
    inputs, spans = profiles.as_samples(runner.inputs, runner.profiles, axes)
    found = profiles.shapes_at(inputs, spans, batch, runner.values)
    return {name: sample_axes.fed_shape(shape, axes.get(name, 0)) for name, shape in found.items()}


def _axes(runner: Runner, data: FeedSpec | None) -> dict[str, int]:
    from trtconv.data import sample_axes
    from trtconv.engines.build import profiles

    said = {} if data is None else data.batch_axes
    return sample_axes.axes(profiles.with_samples(runner.inputs, runner.values), said, guessed=True)

"""How well a calibration cache fits a model: by names, since a cache has nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtconv.graph import editing, placement
from trtconv.graph.placement import Plan


@dataclass(frozen=True)
class Coverage:
    """What of a plan a cache covers.

    Attributes:
        needed: tensors that the quantization needs.
        missing: those that the cache lacks.
        unmatched: names of the cache that are no tensor of the model.
        names: how many names the cache has.
    """

    needed: int
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    names: int

    @property
    def share(self) -> float:
        """Of the tensors needed, how many are covered, 0..1."""
        return 1 - len(self.missing) / self.needed if self.needed else 1.0

    def describe(self, shown: int = 10) -> str:
        """One sentence with the counts and the first missing tensors."""
        text = f"covers {self.needed - len(self.missing)} of the {self.needed} tensors needed"
        if self.unmatched:
            text += f"; {len(self.unmatched)} of its {self.names} names are no tensors of the model"
        if self.missing:
            more = len(self.missing) - shown
            text += f"; missing: {', '.join(map(repr, self.missing[:shown]))}" + (f" and {more} more" * (more > 0))
        return text


def coverage(model: Any, plan: Plan, amax: Mapping[str, float]) -> Coverage:
    """Compare a cache's names with a model's tensors and a plan's needs.

    Args:
        model: FP32 ONNX after ``editing.normalize``.
        plan: of the quantization, made without ranges.
        amax: of the cache.
    """
    graph = model.graph
    own = {value.name for value in graph.input} | set(editing.producers(graph)) | set(editing.initializers(graph))
    unmatched = tuple(name for name in amax if name not in own)
    return Coverage(len(plan.tensors), tuple(placement.uncovered(plan, amax)), unmatched, len(amax))

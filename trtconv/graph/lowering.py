"""One lowering of a model in memory: quantization first, then the 16-bit type for what it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trtconv.core.records import KeepRules
from trtconv.graph import autocast, half, placement, qdq
from trtconv.graph.placement import Plan

QUANTIZED = ("int8", "fp8")
PLAIN = ("fp32", "tf32")


@dataclass(frozen=True)
class Recipe:
    """What to make; see ``stages.lower.LowerRequest`` for the meaning of each."""

    precision: str
    base: str = "fp16"
    keep: KeepRules = field(default_factory=KeepRules)
    exclude: KeepRules = field(default_factory=KeepRules)
    io_types: str = "keep"

    @property
    def half(self) -> str:
        """The type of what is not quantized: fp16, bf16, or fp32 for none."""
        if self.precision in PLAIN:
            return "fp32"
        return self.base if self.precision in QUANTIZED else self.precision


@dataclass
class Lowering:
    """What changed.

    Attributes:
        plan: of the quantization; None without any.
        casts: Cast nodes added.
        left_out: (node, reason) for each that did not get the precision asked for.
        idle: rules of the user that matched no node, per section.
    """

    plan: Plan | None = None
    casts: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    idle: dict[str, tuple[str, ...]] = field(default_factory=dict)


def apply(model: Any, recipe: Recipe, amax: Mapping[str, float], ranges: Mapping[str, float] | None) -> Lowering:
    """Lower a model in place.

    Args:
        model: FP32 ONNX after ``editing.normalize``.
        recipe: what to make.
        amax: range per tensor, for quantization.
        ranges: largest magnitude per tensor, for the 16-bit type; None: not measured.

    Raises:
        ConversionError: the model cannot be expressed as asked.
    """
    done = Lowering()
    if recipe.precision in QUANTIZED:
        fragile = half.fragile(model, ranges)
        done.plan = placement.plan(model, recipe.precision, recipe.exclude, recipe.keep, amax, fragile)
        added = qdq.quantize(model, done.plan, amax, recipe.precision, recipe.base)
        done.left_out += done.plan.left_out
        done.idle["exclude"] = done.plan.idle
        ranges = {**ranges, **added} if ranges else ranges
    if recipe.half != "fp32":
        lowered = autocast.lower(model, recipe.half, ranges, recipe.keep, recipe.io_types)
        done.casts = lowered.casts
        done.left_out += lowered.kept
        done.idle["keep"] = lowered.idle
    return done

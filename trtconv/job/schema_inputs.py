"""The inputs section of a job file: shapes, types, layouts, profiles."""

from __future__ import annotations

from typing import Annotated, Literal

from trtconv.job.fields import Integers, Shape, Sizes, listed
from trtconv.job.section import Before, Section, key, rule


class Profile(Section):
    """The range of shapes an engine is built for: a number for every dynamic dimension, or full shapes."""

    min: Sizes = key(description="smallest shape; 0 is a size too, such as that of an empty cache")
    opt: Sizes = key(description="shape to optimize for")
    max: Sizes = key(description="largest shape")

    @rule
    def _ordered(self) -> None:
        _ordered(self.min, self.opt, self.max, "dimensions")
        if not all((*self.opt, *self.max)):
            raise ValueError(f"only min may hold 0, got opt {self.opt} and max {self.max}")


class Values(Section):
    """The range of an input's values, where they decide shapes: a number for every element of the input."""

    min: Integers = key(description="smallest values")
    opt: Integers = key(description="values to optimize for")
    max: Integers = key(description="largest values")

    @rule
    def _ordered(self) -> None:
        _ordered(self.min, self.opt, self.max, "numbers")


def _ordered(low: list[int], opt: list[int], high: list[int], what: str) -> None:
    if not len(low) == len(opt) == len(high):
        raise ValueError(f"min, opt and max must have the same number of {what}")
    if any(not a <= b <= c for a, b, c in zip(low, opt, high, strict=True)):
        raise ValueError(f"expected min <= opt <= max, got {low}, {opt}, {high}")


class Input(Section):
    """One input of the model."""

    shape: Shape | None = key(None, description="full shape with batch; a name such as batch is dynamic")
    dtype: Literal["float32", "int64", "int32", "int16", "int8", "uint8", "bool"] | None = key(
        None, description="its type, for a source that does not say it: a PyTorch network (default: float32)"
    )
    layout: Literal["keep", "nchw"] = key(
        "keep", description="nchw: the ONNX model and the engine take it channels first, the source channels last"
    )
    profile: Annotated[list[Profile], Before(listed, one=True), key(least=1)] | None = key(
        None, description="range of shapes for the engine, or several (default: batch 1, 8, 32)"
    )
    values: Annotated[list[Values], Before(listed, one=True), key(least=1)] | None = key(
        None, description="range of the values of an input that decides shapes, as Reshape's target does, or several"
    )

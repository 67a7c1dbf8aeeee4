"""The lower section of a job file: what stays in FP32, what int8 or fp8 leaves alone."""

from __future__ import annotations

import re
from typing import Literal

from trtconv.job.fields import Names
from trtconv.job.section import Section, key, rule


class Keep(Section):
    """Nodes by operator type or by name."""

    ops: Names = key([], description="ONNX operator types")
    names: Names = key([], description="regular expressions, searched in node names")
    limit: float | None = key(
        None,
        gt=0,
        description="measured magnitude above which a tensor's nodes belong here (default: half the type's "
        "largest value under keep, none under exclude)",
    )

    @rule
    def _names_are_expressions(self) -> None:
        for name in self.names:
            try:
                re.compile(name)
            except re.error as error:
                raise ValueError(f"names: {name!r} is no regular expression: {error}") from None


class Lower(Section):
    """How the typed ONNX model is made."""

    base: Literal["fp16", "fp32"] = key("fp16", description="precision of what int8 or fp8 leaves alone")
    keep: Keep = key(Keep(), description="nodes that stay in FP32")
    exclude: Keep = key(Keep(), description="nodes that int8 or fp8 leaves alone")
    io_types: Literal["keep", "convert"] = key("keep", description="FP32 inputs and outputs, or the half type")

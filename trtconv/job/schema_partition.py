"""The partition section of a job's build: how a model is cut into parts."""

from __future__ import annotations

from trtconv.job.fields import Names
from trtconv.job.schema_inputs import Profile
from trtconv.job.section import Section, key


class Partition(Section):
    """How a model is cut into the engines of NAME.parts, beside what TensorRT refuses."""

    cuts: Names = key([], description="tensors at which an engine ends and another one begins")
    bounds: dict[str, Profile] = key(
        {},
        description="range of the shapes of a tensor whose size depends on data, so that an engine may read it; other "
        "shapes are refused when it runs",
    )

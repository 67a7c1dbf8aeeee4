"""The build section of a job."""

from __future__ import annotations

from typing import Literal

from trtconv.job.fields import Bytes, Names, OutputPath
from trtconv.job.schema_partition import Partition
from trtconv.job.section import Section, key, rule

_OF_ONE_ENGINE = ("weight_streaming", "refit", "strip_weights", "version_compatibility", "dla")


class Dla(Section):
    """A deep-learning accelerator (DLA) that computes the layers it can."""

    core: int = key(0, ge=0, description="which one")
    gpu_fallback: bool = key(True, description="the GPU computes layers that it cannot; otherwise they fail the build")


class Build(Section):
    """How the engine is made."""

    backend: Literal["auto", "tensorrt", "rtx"] = key(
        "auto", description="auto: TensorRT where it is installed with a GPU, else TensorRT-RTX"
    )
    workspace: Bytes | None = key(None, description="memory limit of the builder's kernels, such as 1GiB")
    targets: Names = key([], description="compute capabilities for TensorRT-RTX, such as sm86 (default: all from 8.0)")
    timing_cache: OutputPath | None = key(
        None, description="file of kernel times kept from build to build, for TensorRT (default: beside the engine)"
    )
    optimization_level: int | None = key(
        None, ge=0, le=5, description="how long to look for fast kernels, for TensorRT (default: its own, 3)"
    )
    hardware_compatibility: Literal["none", "ampere+", "same_capability"] = key(
        "none", description="other GPUs that the engine must fit, for TensorRT; TensorRT-RTX has targets"
    )
    version_compatibility: Literal["none", "embedded_runtime", "external_runtime"] = key(
        "none",
        description="whether later versions of TensorRT run the engine too, with a lean runtime that it holds (it runs "
        "with --allow-code) or that lean_runtime names; TensorRT-RTX has none",
    )
    weight_streaming: bool = key(
        False, description="weights may stay in host memory and come when they are needed: weight_streaming_budget"
    )
    refit: bool = key(False, description="trtconv refit can replace the engine's weights without a new build")
    strip_weights: bool = key(
        False, description="leave the weights out of the engine; trtconv refit puts them in before it runs"
    )
    dla: Dla | None = key(None, description="deep-learning accelerator of a Jetson, for TensorRT (default: the GPU)")
    layer_details: Literal["names", "detailed", "none"] = key(
        "detailed", description="what the engine keeps of its layers: detailed for the proof of its precision"
    )
    fallback: Literal["none", "onnxruntime"] = key(
        "none",
        description="what runs the nodes that TensorRT refuses: none (exit 4), or onnxruntime, which makes NAME.parts: "
        "engines, ONNX for the rest, and a manifest",
    )
    min_subgraph_size: int = key(
        3, gt=0, description="nodes that an engine of NAME.parts has at least; fewer go to ONNX Runtime"
    )

    partition: Partition = key(Partition(), description="how a model is cut into the engines of NAME.parts")

    epcontext: OutputPath | None = key(
        None, description="file for the parts as one ONNX model with EPContext nodes, for ONNX Runtime's own providers"
    )

    @rule
    def _size_of_parts(self) -> None:
        given = [name for name in ("min_subgraph_size", "partition", "epcontext") if name in self._given]
        if given and self.fallback == "none":
            raise ValueError(f"{given[0]} belongs to fallback: onnxruntime")

    @rule
    def _of_one_engine(self) -> None:
        asked = [name for name in _OF_ONE_ENGINE if getattr(self, name) not in (False, None, "none")]
        if asked and self.fallback != "none":
            raise ValueError(f"{asked[0]} is for a single engine, and fallback: onnxruntime makes parts")

    @rule
    def _lean_runtimes_do_not_refit(self) -> None:
        asked = [name for name in ("refit", "strip_weights") if getattr(self, name)]
        if asked and self.version_compatibility != "none":
            raise ValueError(f"{asked[0]} and version_compatibility exclude each other: a lean runtime cannot refit")

"""Where a job's engines go to serve."""

from __future__ import annotations

from typing import Literal

from trtconv.job.fields import OutputPath, Seconds
from trtconv.job.section import Section, key


class Triton(Section):
    """A Triton model repository of the job's engines."""

    repository: OutputPath = key(description="folder of models; made where it is missing, and only added to")
    name: str = key("", pattern=r"^[\w.-]*$", description="start of the models' names (default: the job's)")
    runtime: Literal["auto", "tensorrt", "python", "onnxruntime"] = key(
        "auto",
        description="tensorrt: plans of TensorRT; python: engines of TensorRT-RTX, and parts, by trtconv in the "
        "server's Python; onnxruntime: the typed ONNX; auto: what the engines are for",
    )
    instances: int | None = key(
        None,
        gt=0,
        description="of a model, at the same time (default: the contexts that bench with tune found, else 1)",
    )
    queue_delay: Seconds = key(0.0001, description="time that a request may wait for others to make a batch with")
    cuda_graphs: bool | None = key(
        None, description="for TensorRT's backend (default: whether bench with tune found them faster)"
    )
    warmup: bool = key(True, description="run the first sample of infer or verify before the server is ready")
    ensemble: bool = key(
        True, description="models for the rows of preprocessing and postprocessing that ONNX can say, and all as one"
    )
    link: bool = key(False, description="hard links instead of copies, where the file system allows")


class Export(Section):
    """Where engines go to serve, after everything else is done and every gate is kept."""

    triton: Triton = key(description="a model repository of Triton Inference Server")

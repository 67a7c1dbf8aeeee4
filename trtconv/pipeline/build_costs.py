"""What the choices of a build cost, said before it is made. Sources: TensorRT's guide, and docs/deployment.md."""

from __future__ import annotations

from collections.abc import Mapping

from trtconv.job.schema import Job

_COSTS: Mapping[tuple[str, str], str] = {
    ("weight_streaming", "True"): "nothing while all weights stay on the GPU; with a smaller budget every run waits "
    "for the weights that it lacks, and no CUDA graph holds it",
    ("refit", "True"): "weights stay apart from the kernels that use them, so that it may run slower; verify it: "
    "TensorRT 11.3 may drop the bias of a matrix product",
    ("strip_weights", "True"): "it does not run before trtconv refit has put the weights in",
    ("hardware_compatibility", "ampere+"): "kernels that fit every GPU from Ampere on (48 KiB of shared memory) are "
    "slower than those chosen for one",
    (
        "hardware_compatibility",
        "same_capability",
    ): "kernels that fit every GPU of this compute capability may be slower than those chosen for one",
    ("version_compatibility", "embedded_runtime"): "only kernels that the lean runtime has, which may be slower; the "
    "engine holds that runtime, and runs with --allow-code",
    ("version_compatibility", "external_runtime"): "only kernels that the lean runtime has, which may be slower; other "
    "versions need its library beside the engine: lean_runtime",
    ("dla", "fallback"): "layers that it lacks run on the GPU, with a copy on the way there and back",
    ("dla", "alone"): "a layer that it lacks fails the build",
}


def of(job: Job) -> list[str]:
    """A sentence for each choice that has a price."""
    build = job.build
    chosen = {key: str(getattr(build, key)) for key, _ in _COSTS if key != "dla"}
    if build.dla is not None:
        chosen["dla"] = "fallback" if build.dla.gpu_fallback else "alone"
    return [f"build.{key}: {text}" for (key, value), text in _COSTS.items() if chosen.get(key) == value]

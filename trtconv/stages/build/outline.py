"""What a build has to know of its model before and after TensorRT sees it: all that takes the onnx package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.errors import BuildError
from trtconv.core.events import Emit
from trtconv.core.records import ShapeRange, TensorInfo
from trtconv.engines.run.proof import Operator
from trtconv.stages.build.records import BuildRequest


@dataclass(frozen=True)
class Outline:
    """A typed model without its weights.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.
        beside: files with its external data, relative to its folder.
        shapes: complete optimization profiles.
        operators: the weighted ones.
        narrow: whether it holds 8-bit floating point or 4-bit types.
        network: digests of what it is apart from its weights, see ``graph.fingerprint``.
        weights: digest of its weights, where the engine is built to take others; empty elsewhere.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    beside: tuple[str, ...]
    shapes: tuple[Mapping[str, ShapeRange], ...]
    operators: tuple[Operator, ...]
    narrow: bool
    network: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""


def look(request: BuildRequest, _emit: Emit) -> Outline:
    """Read the model that a request names.

    Raises:
        SourceError: it is missing, truncated or foreign.
        UsageError: profiles that do not fit it.
        BuildError: it holds what TensorRT would build into something else.
    """
    from trtconv.adapters import tensorrt
    from trtconv.engines.build import profiles
    from trtconv.engines.run import proof
    from trtconv.graph import check, fingerprint, model_io, types

    model = model_io.load(request.model, weights=False)  # TensorRT reads the file itself
    beside = model_io.data_files(request.model)
    inputs, outputs = model_io.interface(model)
    _refuse_passed_on(request.model, inputs, outputs)
    plugged = tensorrt.PLUGIN_OPERATORS if request.plugins else ()
    _refuse_mistaken(request.model, check.mistaken(model, plugged))
    shapes = profiles.complete(inputs, request.profiles)
    profiles.check_values(inputs, request.values)
    optimum = {name: span.optimum for first in shapes[:1] for name, span in first.items()}
    return Outline(
        inputs=inputs,
        outputs=outputs,
        beside=tuple(beside),
        shapes=tuple(dict(each) for each in shapes),
        operators=proof.operators(model, types.infer(model), optimum),
        narrow=proof.holds(model, "float8e4m3fn", "int4"),
        network=fingerprint.of_file(request.model, model).digests,
        weights=fingerprint.weights_of_file(request.model) if _takes_others(request) else "",
    )


def _takes_others(request: BuildRequest) -> bool:
    return request.features.refit or request.features.stripped


def _refuse_passed_on(model: Path, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> None:
    """An engine's tensors have one name each: TensorRT would rename the input and say nothing."""
    both = [info.name for info in outputs if info.name in {one.name for one in inputs}]
    if both:
        rest = [info.name for info in outputs if info.name not in both]
        raise BuildError(
            f"{model}: its input {both[0]!r} is an output too; an engine has one tensor of a name",
            hint=f"leave that output out: convert: {{outputs: [{', '.join(rest)}]}}",
        )


def _refuse_mistaken(model: Path, mistaken: Mapping[str, str]) -> None:
    for node, why in mistaken.items():
        raise BuildError(
            f"{model}: node {node!r}: {why}, and compute something else",
            hint="say what it computes: operators: {DOMAIN::NAME: FILE} (--operator), see docs/custom_layers.md",
        )

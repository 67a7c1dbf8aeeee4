"""A first job file for a model, with comments, from a look at the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from trtconv import sources
from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.records import TensorInfo
from trtconv.report import models
from trtconv.sources.format import Format

_BATCH = (1, 8, 32)
_OTHER = (1, 128, 256)
_SECTIONS = """\
# INT8 needs to know how large activations get. Uncomment, give samples of the training set (an .npz with one array per
# input, first axis samples), and add int8 to precision.
#calibrate:
#  data: {path: calibration.npz}
#  method: entropy          # minmax, entropy, percentile or mse

# Nodes that lose accuracy can stay in FP32.
#lower:
#  keep: {ops: [Softmax], names: []}

build:
  backend: auto            # TensorRT where it is installed with a GPU, else TensorRT-RTX
  #workspace: 1GiB         # limit on the memory of the builder's kernels

# Compares every precision with the source. Exit code 6 if more than one point of top-1 is lost.
#verify:
#  data: {path: heldout.npz, labels: labels}
#  max_accuracy_drop: 1.0

# Throughput and latency, one row per batch size.
bench:
  batch: BENCHED
  semantics: trtexec11     # what the numbers mean: trtexec10, trtexec11 or app
  duration: 3s

# Bounds that a run must keep: exit code 6 for accuracy, 7 for the others.
#gates:
#  - {measure: latency_p99, max: 5.0}
#  - {measure: engine_size, max: 50MiB}
"""


def starter(model: Path, folder: Path) -> str:
    """The text of a job file that ``trtconv check`` accepts as it is.

    Args:
        model: file or folder of the model.
        folder: of the job file; paths in it start there.

    Raises:
        SourceError: no model, or a damaged one.
        UsageError: a model that cannot be converted.
    """
    found = sources.detect(model)
    inputs, outputs, signature = _interface(model, found)
    typed = _typed(model) if found.is_onnx else ""
    head = [
        f"# {model.name}: {found.title}. Written by trtconv init from a look at it; change what you like.",
        "#",
        "#   trtconv check THIS.yaml    says what would run and touches nothing",
        "#   trtconv run THIS.yaml      runs it; a second time only what changed",
        "#",
        "# Completion and checks in an editor: trtconv schema > job.schema.json, then as the first line of this file",
        "# the comment: yaml-language-server: $schema=job.schema.json",
        "version: 1",
        "",
        "source:",
        f"  path: {_scalar(os.path.relpath(model.absolute(), folder.absolute()))}",
        *_weights(model, found, folder),
        *signature,
        "",
        *(f"# {line}" for line in found.advice),
        *_inputs(inputs, keeps=found.is_onnx),
        "",
        *_outputs(outputs),
        *_precision(typed),
        "",
    ]
    sections = _SECTIONS.replace("BENCHED", _benched(inputs))
    return "\n".join(head) + "\n" + (sections.replace(*_of_tokens(sections)) if _takes_tokens(inputs) else sections)


def _weights(model: Path, found: Format, folder: Path) -> list[str]:
    """The file of the weights, where the model's own may have none."""
    if "weights" not in found.takes:
        return []
    file = found.finds_weights(model)
    if file is None:
        return ["  #weights: FILE  # of this model, if it holds none itself"]
    return [f"  weights: {_scalar(os.path.relpath(file.absolute(), folder.absolute()))}"]


def _interface(model: Path, found: Format) -> tuple[Sequence[TensorInfo], Sequence[TensorInfo], list[str]]:
    """Inputs and outputs, where they can be read without a framework; and the choice of a signature, if it is open."""
    try:
        groups = models.look(model, found).tensors
    except UsageError:
        return (), (), []
    named = {group.signature: group for group in groups if group.inputs or group.outputs}
    if not named:
        return (), (), []
    chosen = "serving_default" if "serving_default" in named else min(named)
    others = ", ".join(sorted(named.keys() - {chosen}))
    told = f"  signature: {_scalar(chosen)}  # or {others}"
    return named[chosen].inputs, named[chosen].outputs, [told] if others and chosen != "serving_default" else []


def _typed(model: Path) -> str:
    """Why an ONNX model is not plain FP32; empty for one that is."""
    from trtconv.graph import fp32_only, model_io

    try:
        fp32_only.require(model_io.load(model), model.name)
    except ConversionError as error:
        return error.message
    return ""


def _inputs(inputs: Sequence[TensorInfo], *, keeps: bool) -> list[str]:
    if not inputs:
        return [
            "# Shapes of the inputs are kept from the source. To fix or name dimensions, and to say for which",
            "# range of them the engine is built:",
            "#inputs:",
            "#  NAME:",
            "#    shape: [batch, 224, 224, 3]",
            "#    profile: {min: 1, opt: 8, max: 32}",
        ]
    if not any(tensor.shape for tensor in inputs):
        return [
            "# The shapes of its inputs are not in the file, and a conversion needs them:",
            "#inputs:",
            *(
                f"#  {_plain(t.name)}: {{shape: [batch, 3, 224, 224], profile: {{min: 1, opt: 8, max: 32}}}}"
                for t in inputs
            ),
        ]
    known = [f"#   {t.name}: {t.dtype or 'unknown type'} {_shape(t.shape)}" for t in inputs]
    moving = [t for t in inputs if _open(t)]
    if not moving:
        return ["# All inputs have fixed shapes:", *known]
    lines = ["# The inputs:", *known, "# A dimension with a name may vary; the engine is built for a range of it."]
    return [*lines, "inputs:", *(line for tensor in moving for line in _input(tensor, keeps=keeps))]


def _input(tensor: TensorInfo, *, keeps: bool) -> list[str]:
    dims = tensor.shape
    lines = [f"  {_plain(tensor.name)}:"]
    if not keeps:
        lines.append(f"    shape: [{', '.join(map(_dim, range(len(dims)), dims))}]")
    if [axis for axis, dim in enumerate(dims) if _moves(dim)] == [0]:
        return [*lines, "    profile: {{min: {}, opt: {}, max: {}}}".format(*_BATCH)]
    bounds = [
        [(_OTHER if axis else _BATCH)[which] if _moves(dim) else dim for axis, dim in enumerate(dims)]
        for which in range(3)
    ]
    return [*lines, "    profile: {{min: {}, opt: {}, max: {}}}  # your own sizes here".format(*bounds)]


def _outputs(outputs: Sequence[TensorInfo]) -> list[str]:
    if not outputs:
        return []
    named = ", ".join(_scalar(tensor.name) for tensor in outputs)
    return ["# All outputs are kept. To keep some only:", "#convert:", f"#  outputs: [{named}]", ""]


def _precision(typed: str) -> list[str]:
    if typed:
        return [f"# {typed}.", "# It is built with the types that it has.", "precision: [typed]"]
    return ["# One typed ONNX model and one engine each: fp32, tf32, fp16, bf16, int8, fp8.", "precision: [fp32, fp16]"]


def _takes_tokens(inputs: Sequence[TensorInfo]) -> bool:
    """Whether an input holds numbers of something, such as rows of a table: random ones may be of nothing."""
    return any(tensor.dtype in ("int32", "int64") and tensor.shape for tensor in inputs)


def _of_tokens(sections: str) -> tuple[str, str]:
    """The section that measures, and what stands in its place where it needs samples."""
    begin = sections.index("bench:")
    section = sections[begin : sections.index("\n\n", begin)]
    lines = [*section.splitlines(), "  data: {path: samples.npz}  # random numbers may be none that the model knows"]
    return section, "\n".join(f"#{line}" for line in lines)


def _benched(inputs: Sequence[TensorInfo]) -> str:
    fixed = [t.shape[0] for t in inputs if t.shape and not _moves(t.shape[0])]
    return f"[{fixed[0]}]" if fixed else "[1, 8]"


def _open(tensor: TensorInfo) -> bool:
    return any(_moves(dim) for dim in tensor.shape)


def _moves(dim: Any) -> bool:
    return not isinstance(dim, int) or dim < 0


def _dim(axis: int, dim: Any) -> str:
    if not _moves(dim):
        return str(dim)
    if isinstance(dim, str) and dim.isidentifier():
        return dim
    return "-1" if axis else "batch"


def _shape(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]" if shape else "of unknown shape"


def _scalar(text: str) -> str:
    """A value as YAML, quoted where it has to be; a dollar sign would begin a variable."""
    return _plain(text.replace("$", "$$"))


def _plain(text: str) -> str:
    return yaml.safe_dump(text, width=1 << 20, allow_unicode=True).splitlines()[0]

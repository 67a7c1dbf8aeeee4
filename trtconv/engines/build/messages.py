"""TensorRT's log: collected without noise, and explained where its texts are known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from trtconv.adapters import tensorrt
from trtconv.adapters.tensorrt import Loaded
from trtconv.adapters.tensorrt_api import TrtILogger, TrtParserError

_NOISE = (
    "catchCudaError",  # follows every error on a machine without a driver; never the cause
    "Multi stream is disabled because",
    "Error reading CUDA GPU properties",
    "Make sure input ",  # ... has Int64 binding: true of every shape tensor
)

_NO_OPERATOR = r"Plugin not found|was not found in plugin registry|Op type \S+ is not supported in TensorRT"
"""What the parser says of an operator that nothing computes; the last is of TensorRT-RTX before 1.7."""

OPEN_SIZE = r"must not be dynamic"
"""In what TensorRT says of a model that leaves a size open which it must know."""
SAY_SIZE = (
    "say the size: the same number for min, opt and max in the profile is enough (trtexec: --shapes), or give the "
    "model's input its shape (convert --input NAME:batch,16,32; in a job inputs.NAME.shape)"
)

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"requires workspace memory greater than|maxScratchSize > 0|insufficient workspace",
        "raise build.workspace, or leave it out",
    ),
    (r"FP32 GEMM is not supported|for Turing \(SM75\)", "leave sm75 out of build.targets, or use precision fp16"),
    (
        r"Cannot compile for target\(s\) .* HW-specific datatypes: ",
        "leave the named targets out of build.targets: bf16 needs sm80, fp8 and int4 need sm89",
    ),
    (
        r"cudnn_impl\.cpp: CHECK\(dtype",
        "TensorRT-RTX builds INT8 convolutions from 1.7 on: upgrade it, or exclude them: "
        "lower: {exclude: {ops: [Conv]}}",
    ),
    (
        r"CUDA error 222|graph_jit\.cpp.*CHECK\(status == CUDA_SUCCESS\)",
        "TensorRT-RTX cannot build engines that take other weights on this GPU: leave build.refit and "
        "build.strip_weights out; trtconv refit builds again where it cannot refit",
    ),
    (
        r"Cuda Error in .*driver version is insufficient",
        "TensorRT makes this operator with a plugin that asks for an NVIDIA driver while it builds: try a machine that "
        "has one, or let ONNX Runtime run it with build: {fallback: onnxruntime} "
        "(--on-refusal onnxruntime -o NAME.parts)",
    ),
    (
        rf"no runners that implement it|was not found in the plugin registry|{_NO_OPERATOR}"
        r"|the operator \w+ is not supported|no operator and no plugin is called",
        "no TensorRT operator or plugin computes this: replace the operator, cut the model before it with "
        "convert: {outputs: [...]}, or let ONNX Runtime run it with build: {fallback: onnxruntime} "
        "(--on-refusal onnxruntime -o NAME.parts)",
    ),
    (
        r"must resolve to a build-time constant|must be a build-time constant|must be an initializer",
        "fold constants first: convert: {clean: true}",
    ),
    (
        r"must have same input types",
        "the model mixes types: give trtconv the FP32 model and a precision to lower it to",
    ),
    (
        r"Int32 but must have type FP8",
        "quantized biases are not for TensorRT: quantize with trtconv, or with QuantizeBias off",
    ),
    (r"Scale coefficients must all be positive", "a quantization scale is zero or negative: calibrate again"),
    (r"Failed to open file|external weights", "keep the model's external data file beside it, under its own name"),
    (r"protobuf size of 2GB", "save the model with external data"),
    (
        r"Inconsistent setting of NVIDIA_TF32_OVERRIDE",
        "set the variable NVIDIA_TF32_OVERRIDE as it was when the engine was built, or build it again",
    ),
    (r"[Oo]ut of memory|OutOfMemory|failed to allocate", "free memory, or lower build.workspace and the profile's max"),
    (OPEN_SIZE, SAY_SIZE),
    (
        r"Profile kMAX values are not self-consistent|shapes? .*inconsistent|kOPT",
        "the profiles of the inputs contradict each other: give dimensions of one name the same range",
    ),
    (
        r"Error Code \d+: Cuda Runtime \(In (?!catchCudaError)",  # without a reason: there is no driver to give one
        "this version of TensorRT asks for an NVIDIA driver while it builds such a model: use a machine that has one, "
        "a later version, or another precision",
    ),
)


class Entry(NamedTuple):
    """One message of TensorRT: its severity's name and its text."""

    severity: str
    text: str


class Log:
    """Collects what TensorRT says; repetitions, noise and chatter are left out."""

    def __init__(self) -> None:
        self._entries: dict[Entry, None] = {}

    def add(self, severity: str, text: str) -> None:
        """Take one message; called from TensorRT's threads, must not raise."""
        if severity not in ("INFO", "VERBOSE") and not any(mark in text for mark in _NOISE):
            self._entries[Entry(severity, " ".join(text.split()))] = None

    def take(self) -> tuple[Entry, ...]:
        """Everything collected, and begin again."""
        taken, self._entries = tuple(self._entries), {}
        return taken


@cache
def listen(loaded: Loaded) -> tuple[Log, TrtILogger]:
    """The log of a flavour and its logger: one per process, since TensorRT never lets go of the first."""
    log = Log()
    return log, tensorrt.logger(loaded.api, log.add)


def errors(entries: Iterable[Entry]) -> list[str]:
    """Texts of the errors."""
    return [entry.text for entry in entries if entry.severity in ("ERROR", "INTERNAL_ERROR")]


def warnings(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Texts of the warnings."""
    return tuple(entry.text for entry in entries if entry.severity == "WARNING")


def hint_for(texts: Iterable[str]) -> str:
    """What to do about the texts, by the first row that knows one of them; empty when none does."""
    said = list(texts)
    return next((hint for pattern, hint in _HINTS if any(re.search(pattern, text) for text in said)), "")


def parser_error(error: TrtParserError) -> str:
    """One parser error as a sentence that names the node."""
    operator = error.node_operator()
    description = "\n".join(line for line in error.desc().splitlines() if not any(mark in line for mark in _NOISE))
    if error.node() < 0 and error.code().name == "UNSUPPORTED_NODE":
        return f"input {error.file()!r} has a type that TensorRT does not take"
    where = f"node {error.node_name()!r} ({operator})" if operator else "model"
    if description == "false" or (error.code().name == "UNSUPPORTED_NODE" and not description):
        return f"{where}: the operator {operator} is not supported"
    if re.search(_NO_OPERATOR, description):
        return f"{where}: no operator and no plugin is called {operator}"
    return f"{where}: {description}"

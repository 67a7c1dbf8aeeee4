"""The ``config.pbtxt`` of a model in a Triton repository: what is known of the model, as Triton's ModelConfig has it.

Fields and their meaning: triton-inference-server/common, protobuf/model_config.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.records import Dim, ShapeRange, TensorInfo

Message = Mapping[str, Any]
"""A protobuf message as a mapping: ``Word`` for enum values, lists for repeated fields, mappings for messages."""

_TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "bfloat16": "BF16",
    "string": "STRING",
}


class Word(str):
    """An enum value, which the text form has without quotes."""


@dataclass(frozen=True)
class Interface:
    """What a model takes and gives.

    Attributes:
        inputs: by their ONNX names, with the batch.
        outputs: likewise.
        profiles: of an engine; empty: any size goes.
        values: ranges of the inputs that decide shapes, per profile.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    profiles: tuple[Mapping[str, ShapeRange], ...] = ()
    values: tuple[Mapping[str, ShapeRange], ...] = ()

    @property
    def shape_inputs(self) -> frozenset[str]:
        """Inputs whose values decide shapes."""
        return frozenset(name for each in self.values for name in each)

    @property
    def batch(self) -> int:
        """Triton's ``max_batch_size``: the most samples per request, 0 where the first axis counts none.

        It counts samples if every input and output has it and the profiles together take every number from 1 on: the
        server then makes batches of what it likes, and checks that the first axis of all inputs is the same.
        """
        inputs = [info for info in self.inputs if info.name not in self.shape_inputs]
        if self.shape_inputs or not all(_varies(info) for info in (*inputs, *self.outputs)):
            return 0
        firsts = {info.shape[0] for info in inputs}
        if len(firsts) > 1 or any(info.shape[0] in info.shape[1:] or _batch_is_later(info.shape) for info in inputs):
            return 0
        reached = 0 if self.profiles else _ANY_BATCH
        for least, most in sorted(self._batches([info.name for info in inputs])):
            reached = max(reached, most) if least <= reached + 1 else reached
        return reached

    def _batches(self, names: Sequence[str]) -> Iterator[tuple[int, int]]:
        for each in self.profiles:
            spans = [each[name] for name in names if name in each]
            yield max((one.minimum[0] for one in spans), default=1), min((one.maximum[0] for one in spans), default=0)

    @property
    def optimum(self) -> list[int]:
        """The batch sizes that the profiles are fastest at."""
        batched = self.batch
        spans = [span for each in self.profiles for name, span in each.items() if name not in self.shape_inputs]
        return sorted({span.optimum[0] for span in spans if 0 < span.optimum[0] <= batched})

    def takes(self, info: TensorInfo, shape: tuple[int, ...]) -> bool:
        """Whether an input may have a shape."""
        fixed = all(not isinstance(dim, int) or dim in (-1, size) for dim, size in zip(info.shape, shape, strict=True))
        spans = [each[info.name] for each in self.profiles if info.name in each]
        within = [
            all(low <= size <= high for low, size, high in zip(span.minimum, shape, span.maximum, strict=True))
            for span in spans
        ]
        return fixed and (any(within) or not spans)


_ANY_BATCH = 64  # of a model that takes any


def _batch_is_later(shape: Sequence[Dim]) -> bool:
    """Whether another axis than the first is called as batches are: [sequence, batch, features]."""
    called = ["batch" in str(dim).lower() for dim in shape]
    return any(called[1:]) and not called[0]


def _varies(info: TensorInfo) -> bool:
    return bool(info.shape) and not (isinstance(info.shape[0], int) and info.shape[0] >= 0)


@dataclass(frozen=True)
class Serving:
    """How a model is served.

    Attributes:
        backend: of Triton: ``tensorrt``, ``onnxruntime`` or ``python``.
        kind: ``KIND_GPU``, ``KIND_CPU`` or ``KIND_AUTO``.
        instances: models at work at the same time on each device.
        delay: seconds that a request may wait for others to make a batch with.
        graphs: whether CUDA graphs are used.
        labels: name of a file of class names, by output.
        warmup: per input, name of a file in ``warmup/`` that holds one sample, with the sample's shape.
        default: name of the file of weights; empty: Triton's own.
        capabilities: such a file by compute capability, as in ``8.6``.
        parameters: for the backend.
    """

    backend: str
    kind: str = "KIND_AUTO"
    instances: int = 1
    delay: float = 0.0
    graphs: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    warmup: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    default: str = ""
    capabilities: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


def config(name: str, interface: Interface, serving: Serving, batch: int | None = None) -> Message:
    """The ModelConfig of a model.

    Args:
        name: of its folder.
        interface: what it takes and gives.
        serving: how it is served.
        batch: the most samples per request, 0 for whole shapes; None: what the interface says.

    Raises:
        UsageError: a type that Triton has no name for.
    """
    batch = interface.batch if batch is None else batch
    told = interface.shape_inputs if serving.backend == "tensorrt" else ()  # the server refuses it of other models
    made: dict[str, Any] = {
        "name": name,
        "backend": serving.backend,
        "max_batch_size": batch,
        "input": [
            {**tensor(info, batch), **({"is_shape_tensor": True} if info.name in told else {})}
            for info in interface.inputs
        ],
        "output": [
            {
                **tensor(info, batch),
                **({"label_filename": serving.labels[info.name]} if info.name in serving.labels else {}),
            }
            for info in interface.outputs
        ],
        "version_policy": {"latest": {"num_versions": 1}},
        "instance_group": [_group(interface, serving)],
    }
    if serving.default:
        made["default_model_filename"] = serving.default
    if serving.capabilities:
        made["cc_model_filenames"] = _map(serving.capabilities)
    if batch:
        made["dynamic_batching"] = _batching(interface, serving)
    if serving.backend != "python":
        made["optimization"] = {
            **({"cuda": _cuda(interface)} if serving.graphs else {}),
            "input_pinned_memory": {"enable": True},
            "output_pinned_memory": {"enable": True},
        }
    if serving.warmup:
        made["model_warmup"] = [_warmup(interface, serving)]
    if serving.parameters:
        made["parameters"] = _map({key: {"string_value": value} for key, value in serving.parameters.items()})
    return made


def ensemble(
    name: str, batch: int, ends: tuple[Sequence[Message], Sequence[Message]], steps: Sequence[Message]
) -> Message:
    """The ModelConfig of models one after the other; ``ends`` are the inputs and outputs of the whole."""
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": batch,
        "input": list(ends[0]),
        "output": list(ends[1]),
        "ensemble_scheduling": {"step": list(steps)},
    }


def step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Message:
    """One model of an ensemble, always its newest version; mappings from its own names to the ensemble's."""
    return {"model_name": model, "model_version": -1, "input_map": _map(inputs), "output_map": _map(outputs)}


def tensor_type(info: TensorInfo) -> Word:
    """Triton's name of a type.

    Raises:
        UsageError: it has none.
    """
    if info.dtype not in _TYPES:
        raise UsageError(
            f"{info.name!r} is {info.dtype}, which Triton has no type for",
            hint="give the model inputs and outputs of an ordinary type: lower.io_types: keep",
        )
    return Word(f"TYPE_{_TYPES[info.dtype]}")


def tensor(info: TensorInfo, batch: int) -> dict[str, Any]:
    """Name, type and dims of an input or output; without the first axis where that is the batch.

    A scalar is ``[1]`` for the server, which hands it to ONNX Runtime as it is; one per sample is reshaped.
    """
    dims = [dim if isinstance(dim, int) and dim >= 0 else -1 for dim in info.shape[1 if batch else 0 :]]
    form = {"name": info.name, "data_type": tensor_type(info), "dims": dims or [1]}
    return form if dims or not batch else {**form, "reshape": {"shape": []}}


def _group(interface: Interface, serving: Serving) -> Message:
    profiles = [str(number) for number in range(len(interface.profiles))] if serving.backend == "tensorrt" else []
    return {
        "kind": Word(serving.kind),
        "count": serving.instances,
        **({"profile": profiles} if len(profiles) > 1 else {}),
    }


def _batching(interface: Interface, serving: Serving) -> Message:
    return {
        **({"preferred_batch_size": interface.optimum} if interface.optimum else {}),
        "max_queue_delay_microseconds": round(serving.delay * 1e6),
    }


def _cuda(interface: Interface) -> Message:
    """Graphs for single samples and for what the profiles are fastest at, where only the batch varies."""
    fixed = {
        info.name: [dim for dim in info.shape[1:] if isinstance(dim, int) and dim >= 0] for info in interface.inputs
    }
    whole = all(len(dims) == len(info.shape) - 1 for info, dims in zip(interface.inputs, fixed.values(), strict=True))
    if not interface.batch or not whole:
        return {"graphs": True}
    shapes = _map({name: {"dim": dims} for name, dims in fixed.items()})
    return {
        "graphs": True,
        "graph_spec": [{"batch_size": size, "input": shapes} for size in sorted({1, *interface.optimum})],
    }


def _warmup(interface: Interface, serving: Serving) -> Message:
    """One request with a sample; the server sends as many of them as a batch holds."""
    types = {info.name: tensor_type(info) for info in interface.inputs}
    inputs = {
        name: {"data_type": types[name], "dims": list(shape), "input_data_file": file}
        for name, (file, shape) in serving.warmup.items()
    }
    size = max(interface.optimum, default=1) if interface.batch else 1  # 0 is skipped in silence
    return {"name": "a sample", "batch_size": size, "inputs": _map(inputs)}


def _map(entries: Mapping[str, Any]) -> list[Message]:
    return [{"key": key, "value": value} for key, value in entries.items()]


def text(message: Message) -> str:
    """A message in protobuf's text form."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Message, indent: str = "") -> Iterator[str]:
    for key, value in message.items():
        for each in value if isinstance(value, list) and not _numbers(value) else [value]:
            if isinstance(each, Mapping):
                yield f"{indent}{key} {{"
                yield from _lines(each, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{key}: {_scalar(each)}"


def _numbers(value: list[Any]) -> bool:
    return all(isinstance(each, int) for each in value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, (Word, int)):
        return str(value)
    return '"' + "".join(_escaped(sign) for sign in value) + '"'


def _escaped(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    return sign if sign.isprintable() else "".join(f"\\{byte:03o}" for byte in sign.encode())

"""TensorFlow Lite files read without TensorFlow: tensors, signatures and operators.

The file is a FlatBuffer: tables of offsets, described at flatbuffers.dev, "Internals". Field numbers and the lists of
operators and types are those of tensorflow/lite's schema.fbs.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.errors import SourceError
from trtconv.core.records import TensorInfo

_TYPES = (
    "float",
    "float16",
    "int32",
    "uint8",
    "int64",
    "string",
    "bool",
    "int16",
    "complex64",
    "int8",
    "double",
    "complex128",
    "uint64",
    "resource",
    "variant",
    "uint32",
    "uint16",
    "int4",
    "bfloat16",
    "int2",
    "uint4",
)
_QUANTIZED = {"int8", "uint8", "int16", "int4", "int2", "uint4"}
_CUSTOM = 32

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
"""
_OPERATORS = tuple(_NAMES.split())


@dataclass(frozen=True)
class LiteModel:
    """What a file holds.

    Attributes:
        inputs: names without ``:0``; those of the only signature where there is one.
        outputs: likewise.
        tensors: name of the tensor in the file, by public name; made up where the file has none.
        indices: number of the tensor, by public name.
        ops: how often each operator occurs; custom ones by their own name.
        quantized: whether a tensor holds integers that stand for real numbers.
        signatures: names.
        steps: scale and zero point of outputs that are such integers.
        ranges: what inputs can be that are such integers, or become them at once.
        limits: what outputs in floating point can be that were such integers.
        unfit: what tf2onnx takes at its word although the interpreter does not; empty: nothing.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tensors: dict[str, str]
    indices: dict[str, int]
    ops: Counter[str]
    quantized: bool
    signatures: tuple[str, ...]
    steps: dict[str, tuple[float, float]] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()


def read(path: Path) -> LiteModel:
    """Take a file apart.

    Raises:
        SourceError: truncated or damaged.
    """
    try:
        return _read(_Table.root(path.read_bytes()))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path}: begins like a TensorFlow Lite model but is truncated or damaged ({error})", hint="copy it again"
        ) from None


def _read(model: _Table) -> LiteModel:
    codes = [_operator(code) for code in model.tables(1)]
    graphs = model.tables(2)
    main = graphs[0]
    tensors = main.tables(0)
    names = tensor_names([tensor.text(3) for tensor in tensors])
    signatures = model.tables(7)
    sides = []
    renamed: dict[str, str] = {}
    indices: dict[str, int] = {}
    for number, part in ((1, 0), (2, 1)):
        keys = (
            {entry.number(1, "I"): entry.text(0) for entry in signatures[0].tables(part)}
            if len(signatures) == 1
            else {}
        )
        infos = []
        for index in main.numbers(number, "i"):
            public = keys.get(index) or names[index].removesuffix(":0")
            renamed[public], indices[public] = names[index], index
            infos.append(_info(tensors[index], public))
        sides.append(tuple(infos))
    quantized = any(_TYPES[tensor.number(1, "b")] in _QUANTIZED and _steps(tensor) for tensor in tensors)
    outputs = {info.name: tensors[indices[info.name]] for info in sides[1]}
    return LiteModel(
        inputs=sides[0],
        outputs=sides[1],
        tensors=renamed,
        indices=indices,
        ops=Counter(codes[node.number(0, "I")] for graph in graphs for node in graph.tables(3)),
        quantized=quantized,
        signatures=tuple(s.text(2) for s in signatures),
        steps={name: _steps(tensor)[0] for name, tensor in outputs.items() if len(_steps(tensor)) == 1},
        ranges=_integers(tensors, indices, sides[0]) | _ends(main, codes, tensors, "QUANTIZE", indices, sides[0]),
        limits=_ends(main, codes, tensors, "DEQUANTIZE", indices, sides[1]),
        unfit=_unfit(graphs),
    )


def tensor_names(names: Sequence[str]) -> list[str]:
    """Names by which tensors can be told apart: those of the file, and made-up ones where they are missing."""
    count = Counter(names)
    return [name if name and count[name] == 1 else f"{name or 'tensor'}_{at}" for at, name in enumerate(names)]


def _integers(
    tensors: list[_Table], indices: dict[str, int], infos: Sequence[TensorInfo]
) -> dict[str, tuple[float, float]]:
    """The whole range of inputs that are integers standing for real numbers."""
    found = {info.name: _LIMITS[info.dtype] for info in infos if info.dtype in _LIMITS}
    return {name: limits for name, limits in found.items() if _steps(tensors[indices[name]])}


def _ends(
    main: _Table, codes: list[str], tensors: list[_Table], op: str, indices: dict[str, int], infos: Sequence[TensorInfo]
) -> dict[str, tuple[float, float]]:
    """The smallest and largest real number of inputs (QUANTIZE) or outputs (DEQUANTIZE) that are integers inside."""
    found = {}
    public = {indices[info.name]: info.name for info in infos}
    for node in main.tables(3):
        inside, outside = node.numbers(2, "i")[0], node.numbers(1, "i")[0]
        if op == "DEQUANTIZE":
            inside, outside = outside, inside
        kind, steps = _TYPES[tensors[inside].number(1, "b")], _steps(tensors[inside])
        if codes[node.number(0, "I")] == op and outside in public and len(steps) == 1 and kind in _LIMITS:
            (scale, zero), (low, high) = steps[0], _LIMITS[kind]
            found[public[outside]] = (scale * (low - zero), scale * (high - zero))
    return found


_LIMITS: dict[str, tuple[float, float]] = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


def _unfit(graphs: list[_Table]) -> tuple[str, ...]:
    said = []
    for graph in graphs:
        tensors = graph.tables(0)
        names = [tensor.text(3) for tensor in tensors]
        if tensor_names(names) != names:
            said.append("tensors without names")
        if any(_dimension(tensor) != _said_dimension(tensor) for tensor in tensors):
            said.append("a quantized dimension that its tensor does not have")
    return tuple(dict.fromkeys(said))


def _dimension(tensor: _Table) -> int:
    """The axis along which the scales of a tensor lie: 0 for a vector, whatever the file says."""
    return _said_dimension(tensor) if _said_dimension(tensor) < max(len(tensor.numbers(0, "i")), 1) else 0


def _said_dimension(tensor: _Table) -> int:
    """What the file says of it."""
    quantization = tensor.table(4)
    return 0 if quantization is None else quantization.number(6, "i")


def _operator(code: _Table) -> str:
    """New files hold the number in field 3, those from before there were 127 operators in field 0."""
    number = max(code.number(0, "b"), code.number(3, "i"))
    return (
        code.text(1) if number == _CUSTOM else _OPERATORS[number] if number < len(_OPERATORS) else f"operator {number}"
    )


def _steps(tensor: _Table) -> list[tuple[float, float]]:
    """Scale and zero point, one per channel; none where a tensor is not quantized."""
    quantization = tensor.table(4)
    if quantization is None:
        return []
    scales = quantization.numbers(2, "f")
    zeros = quantization.numbers(3, "q") or [0] * len(scales)
    return [(float(scale), float(zero)) for scale, zero in zip(scales, zeros, strict=False)]


def _info(tensor: _Table, name: str) -> TensorInfo:
    shape = tensor.numbers(7, "i") or tensor.numbers(0, "i")
    dims = tuple(
        size if size >= 0 else "batch" if axis == 0 else f"{name}_dim{axis}" for axis, size in enumerate(shape)
    )
    return TensorInfo(name, _TYPES[tensor.number(1, "b")], dims)


class _Table:
    """A FlatBuffer table: its fields by number."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.vtable = position - struct.unpack_from("<i", data, position)[0]
        self.size = struct.unpack_from("<H", data, self.vtable)[0]

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def place(self, field: int) -> int:
        """Where a field lies; 0 when it is left out."""
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", self.data, self.vtable + slot)[0] if slot < self.size else 0
        return self.position + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        place = self.place(field)
        return int(struct.unpack_from("<" + kind, self.data, place)[0]) if place else 0

    def pointed(self, field: int) -> int:
        place = self.place(field)
        return place + int(struct.unpack_from("<I", self.data, place)[0]) if place else 0

    def text(self, field: int) -> str:
        place = self.pointed(field)
        if not place:
            return ""
        size = struct.unpack_from("<I", self.data, place)[0]
        return self.data[place + 4 : place + 4 + size].decode()

    def numbers(self, field: int, kind: str) -> list[int]:
        place = self.pointed(field)
        if not place:
            return []
        count = struct.unpack_from("<I", self.data, place)[0]
        return list(struct.unpack_from(f"<{count}{kind}", self.data, place + 4))

    def table(self, field: int) -> _Table | None:
        place = self.pointed(field)
        return _Table(self.data, place) if place else None

    def tables(self, field: int) -> list[_Table]:
        place = self.pointed(field)
        offsets = self.numbers(field, "I")
        return [_Table(self.data, place + 4 + 4 * index + offset) for index, offset in enumerate(offsets)]

"""The enumerations of TensorRT's Python API, 3 to 11, with the numbers that its headers give them."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

_MEMBERS = {
    "ActivationType": "RELU SIGMOID TANH LEAKY_RELU ELU SELU SOFTSIGN SOFTPLUS CLIP HARD_SIGMOID SCALED_TANH "
    "THRESHOLDED_RELU GELU_ERF GELU_TANH",
    "BoundingBoxFormat": "CORNER_PAIRS CENTER_SIZES",
    "BuilderFlag": "FP16 INT8 DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE "
    "OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO VERSION_COMPATIBLE "
    "EXCLUDE_LEAN_RUNTIME FP8 ERROR_ON_TIMING_CACHE_MISS BF16 DISABLE_COMPILATION_CACHE STRIP_PLAN REFIT_IDENTICAL "
    "WEIGHT_STREAMING INT4 REFIT_INDIVIDUAL STRICT_NANS MONITOR_MEMORY FP4 EDITABLE_TIMING_CACHE "
    "DISTRIBUTIVE_INDEPENDENCE REQUIRE_USER_ALLOCATION REJECT_EMPTY_ALGORITHMS=29 ENABLE_TACTIC_HEURISTIC=30 "
    "STRICT_TYPES=31 WEIGHTLESS=18",
    "CalibrationAlgoType": "LEGACY_CALIBRATION ENTROPY_CALIBRATION ENTROPY_CALIBRATION_2 MINMAX_CALIBRATION",
    "CumulativeOperation": "SUM",
    "DataType": "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4 FP4 E8M0",
    "DeviceType": "GPU DLA",
    "ElementWiseOperation": "SUM PROD MAX MIN SUB DIV POW FLOOR_DIV AND OR XOR EQUAL GREATER LESS",
    "EngineCapability": "STANDARD=0 DEFAULT=0 SAFETY=1 SAFE_GPU=1 DLA_STANDALONE=2 SAFE_DLA=2",
    "FillOperation": "LINSPACE RANDOM_UNIFORM RANDOM_NORMAL",
    "GatherMode": "DEFAULT ELEMENT ND",
    "HardwareCompatibilityLevel": "NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY",
    "InterpolationMode": "NEAREST LINEAR CUBIC",
    "LayerInformationFormat": "ONELINE JSON",
    "LayerType": "CONVOLUTION FULLY_CONNECTED=60 CAST=1 ACTIVATION=2 POOLING LRN SCALE SOFTMAX DECONVOLUTION "
    "CONCATENATION ELEMENTWISE PLUGIN UNARY PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX "
    "CONSTANT IDENTITY PLUGIN_V2 SLICE SHAPE PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT "
    "SELECT FILL QUANTIZE DEQUANTIZE CONDITION CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ASSERTION "
    "ONE_HOT NON_ZERO GRID_SAMPLE NMS REVERSE_SEQUENCE NORMALIZATION PLUGIN_V3 SQUEEZE UNSQUEEZE CUMULATIVE "
    "DYNAMIC_QUANTIZE RNN=61 RNN_V2=62",
    "MatrixOperation": "NONE TRANSPOSE VECTOR",
    "MemoryPoolType": "WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM TACTIC_SHARED_MEMORY",
    "NetworkDefinitionCreationFlag": "EXPLICIT_BATCH=0 STRONGLY_TYPED=1 EXPLICIT_PRECISION=2 "
    "PREFER_AOT_PYTHON_PLUGINS=3 PREFER_JIT_PYTHON_PLUGINS=4",
    "PaddingMode": "EXPLICIT_ROUND_DOWN EXPLICIT_ROUND_UP SAME_UPPER SAME_LOWER CAFFE_ROUND_DOWN CAFFE_ROUND_UP",
    "PoolingType": "MAX AVERAGE MAX_AVERAGE_BLEND",
    "PreviewFeature": "FASTER_DYNAMIC_SHAPES_0805 DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805 PROFILE_SHARING_0806 "
    "ALIASED_PLUGIN_IO_10_03 RUNTIME_ACTIVATION_RESIZE_10_10",
    "ProfilingVerbosity": "LAYER_NAMES_ONLY=0 NONE=1 DETAILED=2 DEFAULT=0 VERBOSE=2",
    "QuantizationFlag": "CALIBRATE_BEFORE_FUSION",
    "ReduceOperation": "SUM PROD MAX MIN AVG NONE",
    "ResizeCoordinateTransformation": "ALIGN_CORNERS ASYMMETRIC HALF_PIXEL",
    "ResizeMode": "NEAREST LINEAR CUBIC",
    "ResizeRoundMode": "HALF_UP HALF_DOWN FLOOR CEIL",
    "ResizeSelector": "FORMULA UPPER",
    "SampleMode": "STRICT_BOUNDS=0 DEFAULT=0 WRAP=1 CLAMP=2 FILL=3 REFLECT=4",
    "ScaleMode": "UNIFORM CHANNEL ELEMENTWISE",
    "ScatterMode": "ELEMENT ND",
    "SliceMode": "STRICT_BOUNDS=0 DEFAULT=0 WRAP=1 CLAMP=2 FILL=3 REFLECT=4",
    "TacticSource": "CUBLAS CUBLAS_LT CUDNN EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS",
    "TensorFormat": "LINEAR CHW2 HWC8 CHW4 CHW16 CHW32 DHWC8 CDHW32 HWC DLA_LINEAR DLA_HWC4 HWC16 DHWC",
    "TensorIOMode": "NONE INPUT OUTPUT",
    "TensorLocation": "DEVICE HOST",
    "TopKOperation": "MAX MIN",
    "UnaryOperation": "EXP LOG SQRT RECIP ABS NEG SIN COS TAN SINH COSH ASIN ACOS ATAN ASINH ACOSH ATANH CEIL FLOOR "
    "ERF NOT SIGN ROUND ISINF ISNAN",
    "WeightsRole": "KERNEL BIAS SHIFT SCALE CONSTANT ANY",
}
"""Members in the order of their numbers, ``NAME=n`` where the count jumps; numbers from 30 on are our own, for what
later headers no longer number."""

_ABBREVIATIONS = {
    "float32": "FLOAT",
    "float16": "HALF",
    "bfloat16": "BF16",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "uint8": "UINT8",
    "fp8": "FP8",
    "int4": "INT4",
    "fp4": "FP4",
}


class Member(enum.IntEnum):
    """A value that compares by name and turns into its number, as the bindings' values do."""

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    @property
    def itemsize(self) -> float:
        """Bytes of an element; of a DataType only."""
        return _ITEMSIZE[self.name]


_ITEMSIZE = {"FLOAT": 4, "INT32": 4, "HALF": 2, "BF16": 2, "INT64": 8, "INT4": 0.5, "FP4": 0.5} | dict.fromkeys(
    ("INT8", "BOOL", "UINT8", "FP8", "E8M0"), 1
)


def _numbered(members: str) -> Iterator[tuple[str, int]]:
    number = -1
    for word in members.split():
        name, _, given = word.partition("=")
        number = int(given) if given else number + 1
        yield name, number


def _made(name: str, members: str) -> type[Member]:
    made: Any = Member
    kind: type[Member] = made(name, list(_numbered(members)), module=__name__)
    return kind


ENUMS: dict[str, type[Member]] = {name: _made(name, members) for name, members in _MEMBERS.items()}
"""Class by the name that ``tensorrt`` gives it."""

DATA_TYPES = {short: ENUMS["DataType"][long] for short, long in _ABBREVIATIONS.items()}
"""``tensorrt.float32`` and its like."""


class Severity(enum.IntEnum):
    """``Logger.Severity``, and ``LogSeverity`` of version 3."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


def member(kind: str, name: str) -> Member:
    """A value by the names of its class and its own."""
    return ENUMS[kind][name]

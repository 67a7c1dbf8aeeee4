"""Every flag of trtexec from TensorRT 8.6, 10 and 11, and what becomes of it here. None is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """What becomes of a flag.

    Attributes:
        fate: ``honoured``, ``no effect`` (it changes nothing that is made or measured, and that is said) or
            ``refused``.
        text: what it does here, why it has no effect, or why it is refused and what to do instead.
        takes: what follows ``=``; empty for a switch.
        default: the value by which a refused flag asks for nothing: then it has no effect.
    """

    fate: str
    text: str
    takes: str = ""
    default: str = ""


def _honoured(text: str, takes: str = "") -> Flag:
    return Flag("honoured", text, takes)


def _no_effect(text: str, takes: str = "") -> Flag:
    return Flag("no effect", text, takes)


def _refused(text: str, takes: str = "", default: str = "") -> Flag:
    return Flag("refused", text, takes, default)


_RANGES = "trtconv does not calibrate while it builds; make the cache for --calib with trtconv calibrate"
_DLA = "of a DLA, trtconv chooses the core and whether the GPU computes the rest: --useDLACore, --allowGPUFallback"
_SAFE = "trtconv builds standard engines, not engines of the safety runtime"
_BUILDER = "trtconv leaves this choice of the builder at its default"
_WEIGHTS = "trtconv refit ENGINE MODEL -o NEW replaces weights, and says which"
_PLUGINS = "trtconv loads plugin libraries that a command or a job names, and makes no other choice among plugins"
_RUNTIME = "trtconv loads engines with the full runtime of the installed TensorRT, or a lean one by --leanDLLPath"
_ON_A_GPU = "an engine on a GPU tells it, nothing else does"
_TUNING = "trtconv does not search over build routes; a matrix in a job file builds and measures combinations"
_REFERENCE = "trtconv verify compares outputs with a reference and gates on it: exit code 6"
_DEBUG = "trtconv does not mark or save debug tensors"

FLAGS: Mapping[str, Flag] = {
    # model
    "onnx": _honoured("the model", "FILE"),
    "uff": _honoured("the frozen TensorFlow graph that the UFF file was made from; UFF itself is refused", "FILE"),
    "uffInput": _honoured("shape of an input, without the batch", "NAME,X,Y,Z"),
    "uffNHWC": _no_effect("shapes are taken in the order they are written in"),
    "output": _honoured("outputs to keep, for --uff and --deploy", "NAME,..."),
    "batch": _honoured("batch size to optimize for and to measure, for --uff and --deploy", "N"),
    "maxBatch": _honoured("largest batch size, for --uff and --deploy", "N"),
    "model": _honoured("the caffemodel of --deploy", "FILE"),
    "deploy": _honoured("the prototxt of a Caffe network; the first dimension of its inputs is the batch", "FILE"),
    "explicitBatch": _no_effect("the batch is always a dimension of the model"),
    # shapes
    "minShapes": _honoured("smallest shapes of the profile", "SHAPES"),
    "optShapes": _honoured("shapes to optimize for", "SHAPES"),
    "maxShapes": _honoured("largest shapes of the profile", "SHAPES"),
    "shapes": _honoured("shapes to measure; without the three above also those of the profile", "SHAPES"),
    "profile": _honoured("the profile that the next --minShapes, --optShapes and --maxShapes are of, from 0", "N"),
    "useProfile": _refused("measurements are made at the optimum of the first profile", "N", "0"),
    "minShapesCalib": _refused(_RANGES, "SHAPES"),
    "optShapesCalib": _refused(_RANGES, "SHAPES"),
    "maxShapesCalib": _refused(_RANGES, "SHAPES"),
    "calibProfile": _refused(_RANGES, "N", "0"),
    # precision
    "fp16": _honoured("typed ONNX in FP16; with --int8 for what INT8 leaves alone"),
    "bf16": _honoured("typed ONNX in BF16"),
    "int8": _honoured("typed ONNX with Q/DQ pairs by --calib, or a model that has them"),
    "fp8": _honoured("typed ONNX with FP8 Q/DQ pairs by --calib, or a model that has them"),
    "int4": _honoured("a model that has INT4 weights with Q/DQ pairs"),
    "best": _honoured("INT8 and FP16 together, by --calib; a typed network has no search among precisions"),
    "noTF32": _honoured("FP32 arithmetic without TF32"),
    "stronglyTyped": _honoured("the model is built with the types that it has"),
    "calib": _honoured("TensorRT calibration cache, for --int8, --fp8 and --best", "FILE"),
    "inputIOFormats": _honoured("fp32:chw, or fp16:chw for inputs and outputs together with --fp16", "FORMATS"),
    "outputIOFormats": _honoured("fp32:chw, or fp16:chw for inputs and outputs together with --fp16", "FORMATS"),
    "layerPrecisions": _honoured("LAYER:fp32 keeps an ONNX node in FP32; other precisions are refused", "SPEC"),
    "precisionConstraints": _no_effect("a typed network always obeys its types", "MODE"),
    "layerOutputTypes": _refused("types follow from the typed ONNX; keep nodes in FP32 by --layerPrecisions", "SPEC"),
    "layerDeviceTypes": _refused(_DLA, "SPEC"),
    "directIO": _refused("formats at the engine's border are linear; reformatting cannot be forbidden"),
    "decomposableAttentions": _refused(_BUILDER, "NAMES"),
    # build
    "workspace": _honoured("memory limit of the builder's kernels, in MiB", "N"),
    "memPoolSize": _honoured("workspace:SIZE; other pools are refused", "POOLS"),
    "saveEngine": _honoured(
        "the engine; its facts go to FILE.json, the typed ONNX model that was built to FILE.onnx", "FILE"
    ),
    "loadEngine": _honoured("an engine to measure", "FILE"),
    "getPlanVersionOnly": _honoured("prints the version in the engine's header"),
    "skipInference": _honoured("builds and does not measure"),
    "buildOnly": _honoured("builds and does not measure"),
    "timingCacheFile": _honoured("kernel times kept from build to build, for TensorRT", "FILE"),
    "minTiming": _refused(_BUILDER, "N", "1"),
    "avgTiming": _refused(_BUILDER, "N", "8"),
    "builderOptimizationLevel": _honoured("0 to 5, for TensorRT; TensorRT-RTX chooses kernels at the first run", "N"),
    "tilingOptimizationLevel": _refused(_BUILDER, "N", "0"),
    "l2LimitForTiling": _refused(_BUILDER, "N", "-1"),
    "maxTactics": _refused(_BUILDER, "N", "-1"),
    "maxAuxStreams": _refused(_BUILDER, "N"),
    "tacticSources": _refused(_BUILDER, "TACTICS"),
    "preview": _refused(_BUILDER, "FEATURES"),
    "heuristic": _refused(_BUILDER),
    "sparsity": _refused(_BUILDER, "MODE", "disable"),
    "profilingVerbosity": _honoured("layer_names_only, detailed or none: what the engine keeps of its layers", "MODE"),
    "nvtxMode": _honoured("default, verbose or none: older name of --profilingVerbosity", "MODE"),
    "hardwareCompatibilityLevel": _honoured(
        "ampere+ or sameComputeCapability, for TensorRT; engines of TensorRT-RTX fit a range of GPUs", "MODE"
    ),
    "runtimePlatform": _refused("engines are built for the system they are built on", "PLATFORM", "SameAsBuild"),
    "versionCompatible": _honoured(
        "later versions of TensorRT run it too, by a lean runtime that it holds; not for TensorRT-RTX"
    ),
    "vc": _honoured("older name of --versionCompatible"),
    "excludeLeanRuntime": _honoured("with --versionCompatible: no lean runtime inside; --leanDLLPath names it"),
    "useRuntime": _honoured("full, or lean with --leanDLLPath", "RUNTIME"),
    "leanDLLPath": _honoured("library that runs an engine for other versions; it runs, by being named", "FILE"),
    "tempdir": _refused("trtconv uses the folder that the environment variable TMPDIR names", "FOLDER"),
    "tempfileControls": _refused(_RUNTIME, "CONTROLS"),
    "asyncFileReader": _no_effect("how a file is read changes neither the engine nor its times"),
    "refit": _honoured("trtconv refit can replace the engine's weights"),
    "stripWeights": _honoured("the engine holds no weights until trtconv refit; with --skipInference"),
    "stripAllWeights": _honoured("--stripWeights and --refit together"),
    "refitFromOnnx": _refused(_WEIGHTS, "FILE"),
    "dumpRefit": _refused(_WEIGHTS),
    "timeRefit": _refused(_WEIGHTS),
    "weightless": _honoured("older name of --stripWeights"),
    "allowWeightStreaming": _honoured("weights may stay in host memory"),
    "weightStreamingBudget": _honoured("weights that stay on the GPU: bytes, N%, or -1 for what fits", "BUDGET"),
    "noBuilderCache": _refused("the timing cache is what makes a second build choose the same kernels"),
    "noCompilationCache": _refused("the timing cache is what makes a second build choose the same kernels"),
    "errorOnTimingCacheMiss": _refused("not every TensorRT stops at a miss; trtconv run --locked compares the bytes"),
    "pluginInstanceNorm": _refused(_PLUGINS),
    "pi": _refused(_PLUGINS),
    "nativeInstanceNorm": _no_effect("the parser's own InstanceNormalization is always used"),
    "enablePluginOverride": _refused(_PLUGINS),
    "plugins": _honoured("as --staticPlugins", "FILE"),
    "staticPlugins": _honoured("plugin library; it runs, as the command says by naming it", "FILE"),
    "dynamicPlugins": _honoured("the same; with --setPluginsToSerialize the engine holds it", "FILE"),
    "setPluginsToSerialize": _honoured("plugin library that the engine holds", "FILE"),
    "safetyPlugins": _refused(_PLUGINS, "FILE"),
    "ignoreParsedPluginLibs": _refused(_PLUGINS),
    "useDLACore": _honoured("the deep-learning accelerator of a Jetson, for TensorRT", "N"),
    "allowGPUFallback": _honoured("with --useDLACore: the GPU computes what the accelerator cannot"),
    "buildDLAStandalone": _refused(_DLA),
    "uint8AsymmetricQuantizationDLA": _refused(_DLA),
    "reportCapabilityDLA": _refused(_DLA),
    "adjustForDLA": _refused(_DLA),
    "safe": _refused(_SAFE),
    "consistency": _refused(_SAFE),
    "restricted": _refused(_SAFE),
    "dumpKernelText": _refused(_SAFE),
    "remoteAutoTuningConfig": _refused(_SAFE, "CONFIG"),
    "cpuOnly": _refused(f"{_SAFE}; TensorRT-RTX builds without a GPU"),
    "monitorMemory": _refused("memory of a build is in its summary; pools are not followed one by one"),
    "markDebug": _refused(_DEBUG, "NAMES"),
    "markUnfusedTensorsAsDebugTensors": _refused(_DEBUG),
    "saveDebugTensors": _refused(_DEBUG, "SPEC"),
    "saveAllDebugTensors": _refused(_DEBUG, "FORMATS"),
    # measuring
    "warmUp": _honoured("milliseconds before queries count", "N"),
    "duration": _honoured("seconds that count, at least; -1 is refused", "N"),
    "iterations": _honoured("queries that count, at least", "N"),
    "percentile": _honoured("percentiles to print", "P,..."),
    "streams": _honoured("execution contexts", "N"),
    "infStreams": _honoured("execution contexts", "N"),
    "useCudaGraph": _honoured("queries are replayed from a CUDA graph"),
    "noCudaGraph": _honoured("queries are enqueued one by one"),
    "useSpinWait": _honoured("the host spins while it waits"),
    "noSpinWait": _honoured("the host sleeps while it waits"),
    "noDataTransfers": _honoured("inputs and outputs stay on the GPU"),
    "includeDataTransfers": _honoured("inputs and outputs are copied with every query"),
    "loadInputs": _honoured("raw values or .npy files of all inputs", "NAME:FILE,..."),
    "avgRuns": _no_effect("it groups lines of trtexec's log; the statistics are over all queries", "N"),
    "separateProfileRun": _no_effect("layers are always timed in a run of their own"),
    "idleTime": _refused("queries follow each other without pauses", "N", "0"),
    "sleepTime": _refused("queries follow each other without pauses", "N", "0"),
    "exposeDMA": _honoured("one query at a time: copies do not overlap with computation"),
    "threads": _refused("all contexts share one host thread by these rules; --semantics=app gives each its own"),
    "useManagedMemory": _refused("inputs and outputs have memory of their own on host and GPU"),
    "timeDeserialize": _refused("loading is not timed"),
    "persistentCacheRatio": _refused(_RUNTIME, "RATIO", "0"),
    "allocationStrategy": _refused(_RUNTIME, "STRATEGY", "static"),
    "device": _refused("choose the GPU by the environment variable CUDA_VISIBLE_DEVICES", "N", "0"),
    "loadRefOutputs": _refused(_REFERENCE, "NAME:FILE,..."),
    "refPair": _refused(_REFERENCE, "N"),
    "accuracyAlgorithm": _refused(_REFERENCE, "NAME"),
    "accuracyThreshold": _refused(_REFERENCE, "X"),
    "atol": _refused(_REFERENCE, "X"),
    "rtol": _refused(_REFERENCE, "X"),
    # tuning
    "tuneBuildRoutes": _refused(_TUNING, "EXPRESSION"),
    "tuneBuildRouteFile": _refused(_TUNING, "FILE"),
    "tuningSearch": _refused(_TUNING, "NAME"),
    "tuningCacheFile": _refused(_TUNING, "FILE"),
    "tuningTimeOut": _refused(_TUNING, "SECONDS"),
    "saveAllEngines": _refused(_TUNING),
    "dryRun": _refused("trtconv check JOB says what would run; --emit-job=FILE writes the job"),
    "continue": _refused(_TUNING),
    "helpBuildRoute": _refused(_TUNING, "KNOB"),
    "setBuildRoute": _refused(_TUNING, "ROUTE"),
    # reports
    "verbose": _no_effect("progress goes to standard error; the full log of a step that fails is shown and kept"),
    "dumpProfile": _honoured("prints the least time of every layer, from runs of their own"),
    "exportProfile": _honoured(f"times of every layer, as JSON; {_ON_A_GPU}", "FILE"),
    "dumpLayerInfo": _honoured(f"prints what TensorRT tells of the layers; {_ON_A_GPU}"),
    "exportLayerInfo": _honoured(f"what TensorRT tells of the layers, as JSON; {_ON_A_GPU}", "FILE"),
    "dumpOptimizationProfile": _refused("trtconv inspect ENGINE prints the profile"),
    "exportTimes": _honoured("times of every query that counts, as JSON, without the marks of enqueueing", "FILE"),
    "dumpOutput": _honoured("prints the outputs of one query"),
    "exportOutput": _honoured("outputs of one query, as JSON", "FILE"),
    "dumpRawBindingsToFile": _refused("use trtconv infer ENGINE --data FILE -o outputs.npz"),
    # of trtconv
    "emit-job": _honoured("trtconv's own: writes the job file that does the same, and does nothing else", "FILE"),
    "semantics": _honoured("trtconv's own: the rules of measuring, trtexec10 unless said; see bench.md", "NAME"),
}
"""By name without the dashes."""

ONLY_11 = frozenset({"includeDataTransfers", "noCudaGraph", "noSpinWait"})
"""Flags by which a command line is known to be one for TensorRT 11, whose defaults of measuring differ."""

BUILDING = frozenset(
    {
        "workspace",
        "memPoolSize",
        "timingCacheFile",
        "inputIOFormats",
        "outputIOFormats",
        "layerPrecisions",
        "noTF32",
        "stronglyTyped",
        "builderOptimizationLevel",
        "hardwareCompatibilityLevel",
        "profilingVerbosity",
        "nvtxMode",
        "versionCompatible",
        "vc",
        "excludeLeanRuntime",
        "refit",
        "stripWeights",
        "stripAllWeights",
        "weightless",
        "allowWeightStreaming",
        "useDLACore",
        "allowGPUFallback",
    }
)
"""Flags that say how to build: they have no effect on an engine that exists."""

MEASURING = frozenset(
    {
        "warmUp",
        "duration",
        "iterations",
        "percentile",
        "streams",
        "infStreams",
        "useCudaGraph",
        "noCudaGraph",
        "useSpinWait",
        "noSpinWait",
        "noDataTransfers",
        "includeDataTransfers",
        "loadInputs",
        "exposeDMA",
        "semantics",
        "weightStreamingBudget",
        "leanDLLPath",
        "useRuntime",
    }
)
"""Flags that say how to measure: they have no effect where nothing is measured."""

EXPORTS: Mapping[str, tuple[str, str]] = {
    "times": ("exportTimes", ""),
    "outputs": ("exportOutput", "dumpOutput"),
    "profile": ("exportProfile", ""),
    "layers": ("exportLayerInfo", "dumpLayerInfo"),
}
"""Files of a measurement, by field of ``stages.bench.Exports``: the flag that names one, the flag that prints it."""

CHOICES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "builderOptimizationLevel": ("optimization_level", {"0": 0, "1": 1, "2": 2, "3": None, "4": 4, "5": 5}),
    "hardwareCompatibilityLevel": (
        "hardware_compatibility",
        {"none": None, "ampere+": "ampere+", "sameComputeCapability": "same_capability"},
    ),
    "profilingVerbosity": ("layer_details", {"layer_names_only": "names", "detailed": "detailed", "none": "none"}),
    "nvtxMode": ("layer_details", {"default": None, "verbose": "detailed", "none": "none"}),
}
"""Flag -> (key of the job's build section, word of trtexec -> value; None for the default)."""

"""trtexec's command lines as jobs: flags in, the job's keys and remarks out. Pure: reads no file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core.records import TensorInfo
from trtconv.core.units import parse_bytes
from trtconv.engines.measure.semantics import RULES
from trtconv.job import trtexec_features
from trtconv.job.trtexec_flags import BUILDING, CHOICES, EXPORTS, FLAGS, MEASURING, ONLY_11
from trtconv.job.trtexec_line import PLUGINS, fail
from trtconv.job.trtexec_shapes import Shapes, profiles, ranges_to_measure

Given = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Model:
    """What must be known of the model.

    Attributes:
        typed: why it is not plain FP32, such as ``quantized already``; empty for one that is.
        quantized: whether it has QuantizeLinear or DequantizeLinear nodes.
        inputs: its inputs; None where only the conversion will tell.
        batched: those of a Caffe network, whose first dimension is the batch, whatever its file says.
    """

    typed: str = ""
    quantized: bool = False
    inputs: tuple[TensorInfo, ...] | None = None
    batched: tuple[TensorInfo, ...] = ()


@dataclass(frozen=True)
class Translation:
    """A command line in trtconv's terms.

    Attributes:
        job: the job's keys; for an engine that exists only ``bench``.
        notes: one sentence per flag that has no effect, and what else to know.
        samples: file per input, to measure with.
        shapes: of the inputs, as measured; what is not there has one dimension that may vary, the batch.
        exports: files to write, by field of ``stages.bench.Exports``.
    """

    job: Mapping[str, Any]
    notes: tuple[str, ...]
    samples: Mapping[str, Path] = field(default_factory=dict)
    shapes: Shapes = field(default_factory=dict)
    exports: Mapping[str, Path] = field(default_factory=dict)


def translate(given: Given, model: Model) -> Translation:
    """The job that does what a command line asks for.

    Args:
        given: of ``trtexec_line.parse``.
        model: facts about the model or engine that it names.

    Raises:
        UsageError: all refused flags at once, each with its reason; values that are none.
    """
    return _Line(given, model).translation()


class _Line:
    """One command line on its way to a job."""

    def __init__(self, given: Given, model: Model) -> None:
        self.given = given
        self.model = model
        self.problems: list[str] = []
        self.notes: list[str] = []

    def translation(self) -> Translation:
        self.check()
        job: dict[str, Any] = {}
        if not self.has("loadEngine"):
            job |= {"source": self.source(), **self.interface(), **self.types()}
            job |= {"build": build} if (build := self.build()) else {}
            job |= {"plugins": plugins} if (plugins := self.plugins()) else {}
        shapes = ranges_to_measure(self.given, self.model.inputs, self.problems)
        if not (self.has("skipInference") or self.has("buildOnly")):
            job["bench"] = self.bench(shapes)
        samples, exports = self.samples(), self.exports("bench" in job)
        fail(self.problems)
        return Translation(job=job, notes=tuple(self.notes), samples=samples, shapes=shapes, exports=exports)

    def source(self) -> dict[str, str]:
        """Model and weights."""
        path = self.value("onnx") or self.value("uff") or self.value("deploy")
        return {"path": path, **({"weights": self.value("model")} if self.has("model") else {})}

    def plugins(self) -> list[dict[str, Any]]:
        """Libraries, each once; those that the engine is to hold."""
        named = {file: None for flag in PLUGINS for file in self.given.get(flag, ())}
        inside = self.given.get("setPluginsToSerialize", ())
        return [{"path": file, **({"embed": True} if file in inside else {})} for file in named]

    def has(self, flag: str) -> bool:
        return flag in self.given

    def value(self, flag: str) -> str:
        return self.given.get(flag, ("",))[-1]

    def check(self) -> None:
        """Refused flags, remarks, and flags that need or exclude others."""
        for name, values in self.given.items():
            flag = FLAGS[name]
            asks_nothing = flag.fate == "refused" and flag.default and set(values) == {flag.default}
            if flag.fate == "no effect":
                self.notes.append(f"--{name} has no effect: {flag.text}")
            elif asks_nothing:
                self.notes.append(f"--{name}={flag.default} has no effect: it is the default")
            elif flag.fate == "refused":
                self.problems.append(f"--{name}: {flag.text}")
        sources = [name for name in ("onnx", "uff", "deploy", "loadEngine") if self.has(name)]
        if len(sources) != 1:
            self.problems.append("expected one of --onnx=FILE, --uff=FILE, --deploy=FILE and --loadEngine=FILE")
        self.check_pairs()
        self.check_idle()

    def check_idle(self) -> None:
        """Flags that are honoured elsewhere and change nothing here are named."""
        built = BUILDING.intersection(self.given) if self.has("loadEngine") else set()
        self.notes += [f"--{flag} has no effect: the engine is built already" for flag in sorted(built)]
        idle = next((flag for flag in ("skipInference", "buildOnly", "getPlanVersionOnly") if self.has(flag)), "")
        unused = MEASURING.intersection(self.given) if idle else set()
        self.notes += [f"--{flag} has no effect: nothing is measured with --{idle}" for flag in sorted(unused)]

    def check_pairs(self) -> None:
        if self.has("loadEngine"):
            building = [*_PRECISIONS, "calib", "saveEngine", "minShapes", "optShapes", "maxShapes", "skipInference"]
            self.problems += [
                f"--{flag} goes with a model, not with --loadEngine" for flag in building if flag in self.given
            ]
        elif self.has("getPlanVersionOnly"):
            self.problems.append("--getPlanVersionOnly goes with --loadEngine")
        only_uff = [flag for flag in ("uffInput", "output", "batch", "maxBatch") if self.has(flag)]
        if self.has("deploy") != self.has("model"):
            self.problems.append(
                "--deploy and --model go together: a prototxt and its caffemodel; trtexec would take random weights"
            )
        if not (self.has("uff") or self.has("deploy")):
            self.problems += [
                f"--{flag} goes with --uff and --deploy; an ONNX model's shapes are set by --shapes, --minShapes, "
                "--optShapes and --maxShapes"
                for flag in only_uff
            ]

    def interface(self) -> dict[str, Any]:
        """Inputs with their profiles, and outputs."""
        table: dict[str, dict[str, Any]] = {}
        for text in self.given.get("uffInput", ()):
            name, *dims = text.split(",")
            if len(dims) < 1 or not all(dim.isdigit() for dim in dims):
                self.problems.append(f"--uffInput={text}: expected NAME,X,Y,Z")
                continue
            table[name] = {"shape": ["batch", *map(int, dims)], **self.of_batch()}
        for info in self.model.batched:
            if not info.shape:
                self.problems.append(f"--deploy: the prototxt says no shape of {info.name}; a job can: --emit-job")
            table[info.name] = {"shape": ["batch", *info.shape[1:]], **self.of_batch(always=True)}
        for name, found in profiles(self.given, self.model.inputs, self.problems, self.notes).items():
            table.setdefault(name, {})["profile"] = found if len(found) > 1 else found[0]
        outputs = [name for text in self.given.get("output", ()) for name in text.split(",")]
        parts: dict[str, Any] = {"inputs": table} if table else {}
        return parts | ({"convert": {"outputs": outputs}} if outputs else {})

    def of_batch(self, *, always: bool = False) -> dict[str, Any]:
        """The profile that --batch and --maxBatch ask for."""
        if not (always or self.has("batch") or self.has("maxBatch")):
            return {}
        opt = self.whole("batch") or 1
        return {"profile": {"min": [1], "opt": [opt], "max": [max(self.whole("maxBatch"), opt)]}}

    def types(self) -> dict[str, Any]:
        """precision, calibrate and lower."""
        precision = self.precision()
        parts: dict[str, Any] = {"precision": [precision]}
        if self.has("calib"):
            if precision not in ("int8", "fp8"):
                self.problems.append("--calib: only --int8, --fp8 and --best need ranges, and a plain FP32 model")
            parts["calibrate"] = {"cache": self.value("calib")}
        lower: dict[str, Any] = {}
        if precision in ("int8", "fp8"):
            lower["base"] = "fp16" if self.has("fp16") or self.has("best") else "fp32"
        if self.half_at_the_border(precision):
            lower["io_types"] = "convert"
        if names := self.kept():
            lower["keep"] = {"names": names}
        if lower and precision == "typed":
            self.problems.append(f"--layerPrecisions: the model is {self.model.typed or 'built as it is'}")
        return parts | ({"lower": lower} if lower else {})

    def precision(self) -> str:
        """One word for all precision flags."""
        asked = [flag for flag in _PRECISIONS if self.has(flag)]
        if self.has("stronglyTyped"):
            if asked:
                self.problems.append(f"--{asked[0]}: --stronglyTyped builds the model with the types that it has")
            return "typed"
        if self.model.typed:
            return self.precision_of_typed(asked)
        if "int4" in asked:
            self.problems.append("--int4: the model has no INT4 weights; quantize it before it becomes ONNX")
        for flag in ("int8", "best", "fp8"):
            if flag in asked:
                self.need_ranges(flag)
                return "fp8" if flag == "fp8" else "int8"
        if "fp16" in asked and "bf16" in asked:
            self.problems.append("--bf16: a typed network has one 16-bit type, and --fp16 is given too")
        if asked:
            return asked[0]
        return "fp32" if self.has("noTF32") else "tf32"

    def need_ranges(self, flag: str) -> None:
        if not self.has("calib"):
            self.problems.append(
                f"--{flag}: needs --calib=FILE, or a model with Q/DQ pairs. trtexec would calibrate on random numbers: "
                "the engine is as fast, and its outputs are useless (trtconv calibrate makes a cache from real samples)"
            )

    def precision_of_typed(self, asked: Sequence[str]) -> str:
        """A model that has its types is built as it is; what it does not have cannot be added."""
        quantized = {"int8", "fp8", "int4", "best"} if self.model.quantized else set()
        wrong = [flag for flag in asked if flag not in quantized]
        self.problems += [
            f"--{flag}: the model is {self.model.typed}, and trtconv builds such a model with the types that it has; "
            "leave the flag out, or give the FP32 model it was made from"
            for flag in wrong
        ]
        self.notes.append(f"the model is {self.model.typed}: it is built with the types that it has")
        return "typed"

    def half_at_the_border(self, precision: str) -> bool:
        """Whether inputs and outputs become FP16."""
        formats = {flag: set(self.value(flag).split(",")) for flag in _FORMATS if self.has(flag)}
        other = [flag for flag, found in formats.items() if found != {"fp32:chw"}]
        both = len(other) == 2 and all(formats[flag] == {"fp16:chw"} for flag in other)
        if other and not (both and precision == "fp16"):
            self.problems += [f"--{flag}: {FLAGS[flag].text}" for flag in other]
        return both

    def kept(self) -> list[str]:
        """Regular expressions for nodes that stay in FP32."""
        pairs = [pair.rpartition(":") for pair in self.value("layerPrecisions").split(",") if pair]
        wrong = [f"{name}:{kind}" for name, _, kind in pairs if kind != "fp32" or not name or "*" in name]
        self.problems += [f"--layerPrecisions={text}: {FLAGS['layerPrecisions'].text}" for text in wrong]
        if pairs and self.value("precisionConstraints") == "none":
            self.problems.append("--layerPrecisions: --precisionConstraints=none says not to heed it")
        return [f"^{re.escape(name)}$" for name, _, kind in pairs if kind == "fp32" and name]

    def build(self) -> dict[str, Any]:
        """The builder's options."""
        section: dict[str, Any] = {}
        pools = [("workspace", self.value("workspace"))] if self.has("workspace") else []
        pools += [tuple(pool.split(":", 1)) for pool in self.value("memPoolSize").split(",") if ":" in pool]  # type: ignore[misc]
        if self.has("memPoolSize") and not all(":" in pool for pool in self.value("memPoolSize").split(",")):
            self.problems.append("--memPoolSize: expected POOL:SIZE, as in workspace:1024M")
        for pool, size in pools:
            if pool != "workspace":
                self.problems.append(f"--memPoolSize={pool}:{size}: trtconv limits the workspace only")
            else:
                section["workspace"] = self.mebibytes(size)
        if self.has("timingCacheFile"):
            section["timing_cache"] = self.value("timingCacheFile")
        return section | self.choices() | trtexec_features.building(self.given, self.problems, self.notes)

    def choices(self) -> dict[str, Any]:
        """The builder's choices that a job can make; a value that is the default asks for nothing."""
        section: dict[str, Any] = {}
        for flag, (name, words) in CHOICES.items():
            if not self.has(flag):
                continue
            word = self.value(flag)
            if word not in words:
                self.problems.append(f"--{flag}={word}: expected {', '.join(words)}")
            elif words[word] is None:
                self.notes.append(f"--{flag}={word} has no effect: it is the default")
            else:
                section[name] = words[word]
        return section

    def mebibytes(self, text: str) -> int:
        """Bytes of ``1024``, ``512M``, ``0.5G``: plain numbers are MiB."""
        try:
            return parse_bytes(text if text[-1:].isalpha() else f"{text}MiB")
        except ValueError:
            self.problems.append(f"expected a size in MiB, or with B, K, M or G, got {text!r}")
            return 0

    def bench(self, shapes: Shapes) -> dict[str, Any]:
        """How to measure."""
        section: dict[str, Any] = {"semantics": self.semantics(), **self.limits()}
        batch = next((dims[0] for dims in shapes.values() if dims), self.whole("batch") or 1)
        if not self.has("loadEngine") or shapes:
            section["batch"] = [batch]
        for key, on, off in (
            ("cuda_graph", "useCudaGraph", "noCudaGraph"),
            ("spin", "useSpinWait", "noSpinWait"),
            ("transfers", "includeDataTransfers", "noDataTransfers"),
        ):
            if self.has(on) and self.has(off):
                self.problems.append(f"--{on} and --{off} exclude each other")
            elif self.has(on) or self.has(off):
                section[key] = self.has(on)
        section |= {"layers": True} if self.has("dumpProfile") else {}
        section |= trtexec_features.measuring(self.given, self.problems, self.notes)
        return section | ({"depth": 1} if self.has("exposeDMA") else {})

    def limits(self) -> dict[str, Any]:
        section: dict[str, Any] = {"percentiles": [90, 95, 99]}
        if self.has("warmUp"):
            section["warmup"] = self.number("warmUp") / 1e3
        if self.has("duration"):
            section["duration"] = self.number("duration")
        if self.has("iterations"):
            section["iterations"] = self.whole("iterations") or 1
        for flag in ("streams", "infStreams"):
            if self.has(flag):
                section["streams"] = self.whole(flag)
        if self.has("percentile"):
            section["percentiles"] = [self.percent(text) for text in self.value("percentile").split(",")]
        return section

    def semantics(self) -> str:
        named = self.value("semantics")
        if named and named not in RULES:
            self.problems.append(f"--semantics={named}: expected {', '.join(RULES)}")
        newer = sorted(ONLY_11.intersection(self.given))
        if newer and not named:
            self.notes.append(f"measured by the rules of trtexec 11, because --{newer[0]} is of that version")
        return named or ("trtexec11" if newer else "trtexec10")

    def samples(self) -> dict[str, Path]:
        """Files of --loadInputs."""
        found = {}
        for pair in filter(None, self.value("loadInputs").split(",")):
            name, colon, file = pair.rpartition(":")
            if not colon or not name or not file:
                self.problems.append(f"--loadInputs={pair}: expected NAME:FILE")
            found[name.strip("'")] = Path(file)
        return found

    def exports(self, measured: bool) -> dict[str, Path]:
        """Files to write; a flag that only prints has an empty path."""
        found = {}
        for what, (file, printed) in EXPORTS.items():
            flag = file if self.has(file) else printed if printed and self.has(printed) else ""
            if flag and not measured:
                self.problems.append(f"--{flag}: it is told while measuring; leave --skipInference out")
            elif flag and self.has("emit-job"):
                self.problems.append(f"--{flag}: a job writes no such file; trtconv trtexec does, when it measures")
            elif flag:
                found[what] = Path(self.value(file))
        return found

    def whole(self, flag: str) -> int:
        text = self.value(flag)
        if text and not text.isdigit():
            self.problems.append(f"--{flag}={text}: expected a whole number")
        return int(text) if text.isdigit() else 0

    def number(self, flag: str) -> float:
        text = self.value(flag)
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if number < 0:
            endless = " (measuring without end is not possible here)" if text == "-1" else ""
            self.problems.append(f"--{flag}={text}: expected a number that is not negative{endless}")
        return number

    def percent(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 100:
            self.problems.append(f"--percentile={text}: expected numbers from 0 to 100")
        return number


_PRECISIONS = ("fp16", "bf16", "int8", "fp8", "int4", "best")
_FORMATS = ("inputIOFormats", "outputIOFormats")

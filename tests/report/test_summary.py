"""Records in, text out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from trtconv.core.records import Comparison
from trtconv.report import pareto, summary
from trtconv.report.tables import table
from trtconv.report.verify import verify_text
from trtconv.stages.bench import BenchResult, Measurement
from trtconv.stages.build import BuildResult
from trtconv.stages.infer import InferResult
from trtconv.stages.lower import LowerResult
from trtconv.stages.verify import Verdict, VerifyResult

_BUILD = BuildResult(Path("m.int8.engine"), Path("m.int8.engine.json"), "rtx", "1.7.1.116", 3 << 20, 12, (), ())
_VERIFY = VerifyResult(
    360,
    "TensorFlow 2.21.0",
    98.75,
    (
        Verdict("FP32 ONNX", "ONNX Runtime 1.31 on CPU", (Comparison("y", 1e-6, 1e-7, 1.0, 130.0),), 98.75, 100.0),
        Verdict(
            "typed ONNX",
            "ONNX Runtime 1.31, strict, on CPU",
            (Comparison("y", 0.25, 0.01, 0.9999, 40.0),),
            98.5,
            99.5,
            basis="strict",
            bound="SNR at least 10 dB",
        ),
        Verdict("engine", "", skipped="no NVIDIA driver"),
    ),
)
_LOWER = LowerResult(Path("m.int8.onnx"), "int8", {"int8": 3}, 3, 2, (("logits", "excluded by name"),))
_INFER = InferResult(Path("r.csv"), "ONNX Runtime 1.31 on CPU", "no NVIDIA driver", 360, 0.5, 98.5)
_BENCH = BenchResult(
    "ONNX Runtime 1.31 on CPU",
    "no NVIDIA driver",
    "trtexec11",
    (Measurement(32, 40, 12345.6, {"mean": 2.5, "min": 2.0, "max": 4.0, "p50": 2.4, "p99": 3.9}),),
)


def _views():
    rows = [("lower", _LOWER), ("build", _BUILD), ("verify", _VERIFY), ("infer", _INFER), ("bench", _BENCH)]
    return [summary.StepView(f"{s}[int8]", s, "int8", "done", 1.5, 100 << 20, (), r) for s, r in rows]


def test_table_aligns():
    assert table(["a", "num"], [["long name", "1"], ["b", "22"]], "lr") == (
        "a          num\n---------  ---\nlong name    1\nb           22"
    )


def test_last_table_has_one_row_per_precision():
    last = summary.text(_views()).split("\n\n")[-1].splitlines()
    assert last[0].split("  ")[0] == "precision"
    for title in ("engine", "size", "top-1 TensorFlow", "top-1 FP32 ONNX", "top-1 typed ONNX", "top-1 engine"):
        assert title in last[0]
    assert " ".join(last[2].split()) == "int8 m.int8.engine 3.0 MiB 98.75 % 98.75 % 98.50 % no GPU 99.50 % 0.25"


def test_fallback_and_exclusions_are_said():
    text = summary.text(_views())
    assert text.count("the engine did not run: no NVIDIA driver") == 2
    assert "int8 leaves out 1 nodes:\n  logits: excluded by name" in text
    assert "360 samples by ONNX Runtime 1.31 on CPU, 98.50 % right" in text
    assert "12345.6" in text


def test_document_is_json_with_every_figure():
    document = json.loads(json.dumps(summary.document("job.yaml", _views()), default=str))
    steps = {step["stage"]: step for step in document["steps"]}
    assert document["schema"] == 1
    assert steps["build"]["result"]["size"] == 3 << 20
    assert steps["verify"]["result"]["verdicts"][1]["outputs"][0]["snr_db"] == 40.0
    assert steps["bench"]["result"]["measurements"][0]["latency_ms"]["p99"] == 3.9


def test_verify_text_names_what_was_skipped():
    lines = verify_text(_VERIFY).splitlines()
    assert lines[0] == "360 samples against TensorFlow 2.21.0 (top-1 98.75 %)"
    (row,) = [line for line in lines if line.startswith("engine ")]
    assert " not compared " in row
    assert row.endswith("skipped: no NVIDIA driver")


def test_verify_text_says_what_it_rests_on_and_within_tolerance_of_a_tolerance_only():
    text = verify_text(_VERIFY)
    (row,) = [line for line in text.splitlines() if line.startswith("typed ONNX ")]
    assert " strict " in row
    assert "typed ONNX: kept (SNR at least 10 dB)" in text
    assert "within tolerance" not in text
    verdict = dataclasses.replace(_VERIFY.verdicts[1], bound="relative difference at most 0.01")
    assert "typed ONNX: within tolerance (relative difference at most 0.01)" in verify_text(
        dataclasses.replace(_VERIFY, verdicts=(verdict,))
    )
    missed = dataclasses.replace(_VERIFY, violations=("typed ONNX: output 'y' holds NaN or infinity",))
    assert "typed ONNX: MISSED" in verify_text(missed)


def test_pareto_front_by_its_definition():
    points = {"a": (1.0, 5.0), "b": (2.0, 4.0), "c": (2.0, 5.0), "d": (3.0, 3.0), "twin": (1.0, 5.0)}
    assert pareto.front(points) == {"a", "b", "d", "twin"}
    assert pareto.front({}) == set()


def test_a_matrix_marks_its_front():
    last = summary.text(_views(), matrix=True).split("\n\n")[-1].splitlines()
    assert last[0].endswith("ms per sample  front")
    assert last[2].split()[-2:] == ["0.0810", "*"]


def test_memory_figures_of_one_line_are_of_one_moment():
    steady = {"engine": 66 << 20, "contexts": 3 << 30, "process": 4 << 30}
    alone = summary.bench_text(dataclasses.replace(_BENCH, memory_parts=steady, memory_peak=steady), "x")
    assert "GPU memory, steady and peak: engine 66.0 MiB, contexts 3.0 GiB, process 4.0 GiB" in alone
    peak = {**steady, "contexts": 9 << 30, "process": 10 << 30}
    text = summary.bench_text(dataclasses.replace(_BENCH, memory_parts=steady, memory_peak=peak), "x")
    assert "GPU memory, steady: engine 66.0 MiB, contexts 3.0 GiB, process 4.0 GiB\n" in text
    assert "GPU memory, peak, while settings were tried: engine 66.0 MiB, contexts 9.0 GiB, process 10.0 GiB" in text
    assert "GPU memory" not in summary.bench_text(_BENCH, "x")

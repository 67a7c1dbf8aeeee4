"""Engines beside the source's framework, in the layout of old."""

from __future__ import annotations

from typing import Any

from tests.report.test_page import measurement
from trtconv.core.records import Comparison
from trtconv.report import against
from trtconv.report.markdown import markdown
from trtconv.report.page import page
from trtconv.report.summary import StepView, text
from trtconv.stages.bench.framework_records import FrameworkResult, FrameworkRun
from trtconv.stages.bench.records import BenchResult
from trtconv.stages.verify import Verdict, VerifyResult

GPU = "PyTorch 2.11.0 on NVIDIA H100"
ENGINE = "TensorRT-RTX 1.5.0 on NVIDIA H100"


def view(stage: str, label: str, result: Any) -> StepView:
    return StepView(f"{stage}[{label}]", stage, label, "up to date", 1.0, 0, (), result)


def run(name: str, batch: int, ms: float, **more: Any) -> FrameworkRun:
    measured = measurement(batch, 1e3 * batch / ms, ms, power={"samples_per_joule": 2.5})
    same = (Comparison("y", 0.1, 0.01, 1.0, 61.25),)
    return FrameworkRun(name, batch, GPU, "", measured, 3 << 20, {"tf32": False, "clock": "GPU events"}, same, 90.0)


def verified(basis: str, label: str, snr: float) -> VerifyResult:
    outputs = (Comparison("y", 0.1, 0.01, 1.0, snr), Comparison("z", 0.1, 0.01, 1.0, snr + 9))
    done = Verdict(label, "x", outputs, agreement=80.0, basis=basis)
    skipped = (Verdict("engine", "", skipped="no GPU"),) if label != "engine" else ()
    return VerifyResult(10, "PyTorch", None, (done, *skipped))


def steps() -> list[StepView]:
    def bench(batch: int, ms: float) -> BenchResult:
        return BenchResult(ENGINE, "", "trtexec11", (measurement(batch, 1e3 * batch / ms, ms),), memory=5 << 20)

    half = (run("pytorch", 1, 4.0), run("pytorch", 10, 8.0), FrameworkRun("pytorch-compiled", 1, GPU, "no compiler"))
    eight = FrameworkRun("pytorch", 1, GPU, "PyTorch runs no int8 form")
    return [
        view("verify", "fp16-b1", verified("engine", "engine", 55.5)),
        view("bench", "fp16-b1", bench(1, 0.5)),
        view("verify", "fp16-b10", verified("strict", "typed ONNX", 44.5)),
        view("bench", "fp16-b10", bench(10, 2.0)),
        view("framework", "fp16", FrameworkResult("fp16", half)),
        view("framework", "int8", FrameworkResult("int8", (eight,))),
    ]


def test_batch_sizes_down_and_ways_across() -> None:
    header, body = against.milliseconds(against.rows(steps()))
    fp16 = ["TensorRT-RTX fp16 (ms)", "pytorch fp16 (ms)", "pytorch-compiled fp16 (ms)"]
    assert header == ["batch_size", *fp16, "engine int8 (ms)", "pytorch int8 (ms)"]
    assert body == [["1", "0.500", "4.000", "-", "-", "-"], ["10", "2.000", "8.000", "-", "-", "-"]]


def test_five_yardsticks_of_each_row() -> None:
    header, body = against.yardsticks(against.rows(steps()))
    assert dict(zip(header, body[0], strict=True)) == {
        "": "TensorRT-RTX fp16",
        "batch": "1",
        "samples/s": "2,000.0",
        "samples/J": "-",
        "median ms": "0.500",
        "p99 ms": "0.750",
        "SNR dB": "55.5",
        "same class": "80.0 %",
        "GPU memory": "5.0 MiB",
    }
    assert body[1][6] == "44.5 (typed ONNX)"
    assert body[3][:4] == ["pytorch fp16", "10", "1,250.0", "2.50"]
    assert body[3][6:] == ["61.2", "90.0 %", "3.0 MiB"]
    assert len(body) == 4  # those without a measurement have reasons instead


def test_every_empty_cell_has_its_reason() -> None:
    said = against.reasons(steps())
    assert "pytorch-compiled fp16: no compiler (batch 1)" in said
    assert "pytorch int8: PyTorch runs no int8 form (batch 1)" in said
    assert any(line.startswith("engine int8: no engine was measured") for line in said)
    assert f"pytorch fp16: {GPU}; tf32 off, clock GPU events" in said


def test_report_and_summary_have_both_tables() -> None:
    written = markdown(page("net", steps(), [], {}, "version: 1\n"))
    assert "## Against the source's framework" in written
    assert "| batch\\_size |" in written.replace("batch_size", "batch\\_size")
    assert "| pytorch fp16 | 10 | 1,250.0 | 2.50 | 8.000 | 12.000 | 61.2 | 90.0 % | 3.0 MiB |" in written
    printed = text(steps())
    assert "TensorRT-RTX fp16 (ms)" in printed
    assert "pytorch-compiled fp16: no compiler (batch 1)" in printed


def test_a_job_without_it_has_no_such_part() -> None:
    alone = [step for step in steps() if step.stage != "framework"]
    assert "Against" not in markdown(page("net", alone, [], {}, "version: 1\n"))

"""Records in, text out: the report of one made-up job, as Markdown and as HTML.

The golden files were read by a person; after a change that is meant, TRTCONV_WRITE_GOLDEN=1 writes them anew.
"""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from trtconv.core.records import Comparison, Proof
from trtconv.pipeline.gates import Verdict as GateVerdict
from trtconv.report.html import html
from trtconv.report.markdown import markdown
from trtconv.report.page import Bars, Lines, Page, page
from trtconv.report.plots import HEIGHT, WIDTH, steps, svg
from trtconv.report.summary import StepView
from trtconv.stages.bench import BenchResult, Measurement
from trtconv.stages.build import BuildResult
from trtconv.stages.verify import Verdict, VerifyResult

GOLDEN = Path(__file__).parent / "golden"
GPU = "TensorRT 10.16.1 on NVIDIA H200"


PROOFS = {
    "fp16": Proof("inspector of TensorRT 10.16.1 on NVIDIA <L4>", {"float16": 1.0}, {"float16": 0.75, "float": 0.25}),
    "int8": Proof("typed ONNX (no GPU | driver)", {"int8": 0.9375, "float16": 0.0625}),
}


def measurement(batch: int, throughput: float, scale: float, **more: Any) -> Measurement:
    names = {"min": 0.9, "p50": 1.0, "p90": 1.1, "p95": 1.2, "p99": 1.5, "max": 2.0, "mean": 1.05, "median": 1.0}
    return Measurement(batch, 100, throughput, {name: part * scale for name, part in names.items()}, **more)


def view(stage: str, precision: str, result: Any, status: str = "up to date") -> StepView:
    files = (result.engine, result.sidecar) if stage == "build" else ()
    return StepView(f"{stage}[{precision}]", stage, precision, status, 2.5, 64 << 20, files, result)


def example() -> Page:
    views = []
    for precision, size, top1, speed in (("fp16", 3 << 20, 98.5, 1.0), ("int8", 2 << 20, 91.25, 2.0)):
        engine = Path(f"out/net.{precision}.engine")
        built = BuildResult(
            engine, Path(f"{engine}.json"), "tensorrt", "10.16.1", size, 12, (), (), proof=PROOFS[precision]
        )
        same = Comparison("logits", 0.25, 0.01, 0.9999, 40.0)
        verdicts = (
            Verdict(
                "typed ONNX",
                "ONNX Runtime 1.31, strict, on CPU",
                (same,),
                top1,
                99.5,
                basis="strict",
                bound="SNR at least 10 dB",
            ),
            Verdict("engine", "", skipped="out/x cannot run here: no <GPU> | driver"),
        )
        layers = (("conv_1", 0.25), ("conv_2", 0.5), ("conv_1", 0.125)) if precision == "int8" else ()
        more = {"layers": layers, "power": {"joules_per_sample": 0.0125}}
        measured = (measurement(1, 900 * speed, 1.1 / speed), measurement(8, 4000 * speed, 2.0 / speed, **more))
        bench = BenchResult(GPU, "", "trtexec11", measured, notes=("several streams share the GPU",))
        status = "up to date" if precision == "fp16" else "option changed: duration"
        views += [
            view("build", precision, built),
            view("verify", precision, VerifyResult(360, "TensorFlow 2.21.0", 98.75, verdicts)),
            view("bench", precision, bench, status),
        ]
    gates = [
        GateVerdict("wider_share[fp16]", False, "25.00 % of the arithmetic runs wider\n  conv (Conv): float", 6),
        GateVerdict("engine_size[fp16]", True, "3.0 MiB; allowed is at most 10.0 MiB", 7),
        GateVerdict("latency_p99[int8] at batch 8", False, "1.5 ms; allowed is at most 1 ms", 7),
    ]
    chain = {
        "provenance": {"digests": {"source": "a" * 64, "onnx": "b" * 64}},
        "model": {"sha256": "c" * 64},
        "engine": {"sha256": "d" * 64},
    }
    return page("net_<1>", views, gates, {"fp16": chain}, "version: 1\nsource:\n  path: <net>.onnx\n")


@pytest.mark.parametrize(("name", "form"), [("report.md", markdown), ("report.html", html)])
def test_golden(name: str, form: Any) -> None:
    text = form(example())
    if os.environ.get("TRTCONV_WRITE_GOLDEN"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def test_markdown_holds_every_number() -> None:
    text = markdown(example())
    assert "# net\\_\\<1>" in text
    assert "out of date: bench[int8]" in text.replace("\\", "")
    assert "| int8 | net.int8.engine | 2.0 MiB | tensorrt 10.16.1 | 91.25 % | 0.550 ms | 8,000 /s | 2.5 s |" in text
    assert "| int8 | 8 | 8,000.0 | 0.900 | 1.000 | 1.100 | 1.200 | 1.500 | 2.000 | 100 | 0.0125 |" in text
    assert "| conv\\_2 | 0.5 |" in text
    assert "fp16 computes 75.0 % in float16, 25.0 % in float, by the inspector of TensorRT 10.16.1" in text
    assert "| MISSED | wider\\_share\\[fp16] | 25.00 % of the arithmetic runs wider; conv (Conv): float |" in text
    assert "skipped: no \\<GPU> \\| driver" in text
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1, table


class _Check(HTMLParser):
    """Balanced tags, and everything that a browser would fetch."""

    VOID = ("meta", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "img")
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        self.open += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_whole_and_needs_no_network() -> None:
    text = html(example())
    check = _Check()
    check.feed(text)
    assert check.open == []
    assert check.fetched == ["data:,"]
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "<net>" not in text
    assert "net_<1>" not in text
    assert text.count("<svg") == 5  # accuracy, throughput, two distributions, one run of layers


def test_bars_are_as_long_as_their_values() -> None:
    root = ElementTree.fromstring(f"<x>{svg(Bars('ms', {'a': 4.0, 'b': 1.0, 'c': 0.0}))}</x>")
    widths = [float(rect.get("width", "")) for rect in root.iter("rect")]
    assert widths[1] == pytest.approx(widths[0] / 4, abs=0.1)
    assert widths[2] < 1
    root = ElementTree.fromstring(f"<x>{svg(Bars('%', {'a': 99.0, 'b': 94.5}, 90.0))}</x>")
    widths = [float(rect.get("width", "")) for rect in root.iter("rect")]
    assert widths[1] == pytest.approx(widths[0] / 2, abs=0.1)


def circles(plot: Lines) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(f"<x>{svg(plot)}</x>")
    return [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.iter("circle")]


def test_points_lie_where_their_values_are() -> None:
    """Linear from 0; logarithmic, with equal steps for equal factors, where values lie far apart."""
    (x0, y0), (x1, y1), (x2, y2) = circles(Lines("t", "x", "y", {"s": [(1, 10, ""), (2, 20, ""), (4, 15, "")]}))
    assert x1 - x0 == pytest.approx((x2 - x1) / 2, abs=0.1)
    assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.1)
    (x0, _), (x1, _), (x2, _) = circles(Lines("t", "x", "y", {"s": [(0.1, 1, ""), (1, 1, ""), (100, 1, "")]}))
    assert x1 - x0 == pytest.approx((x2 - x1) / 2, abs=0.1)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in ((x0, y0), (x2, y2)))


@pytest.mark.parametrize("largest", [1e-4, 0.07, 1.0, 5.5, 9.99, 1e6, 0.0, float("inf")])
def test_ticks_are_few_round_and_reach_the_largest(largest: float) -> None:
    found = steps(largest)
    assert found[0] == 0
    assert 2 <= len(found) <= 8
    assert found[-1] >= largest or largest == float("inf")

"""The table of operators: its own measure, and what is mended in tf2onnx, against TensorFlow on all draws."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "operator_table.py"
MENDED = (
    "AdjustSaturation",
    "Conv2D.dilated free size",
    "Expm1",
    "ExtractImagePatches.batch",
    "FloorDiv.int32",
    "FloorDiv.int8 negative",
    "FloorDiv.wide by constant",
    "FloorMod.int64 negative",
    "FloorMod.int32",
    "Invert.uint8",
    "InvertPermutation",
    "L2Loss",
    "LeftShift.int64",
    "LeftShift.int64 far",
    "RightShift.int64 far",
    "Log1p",
    "MatrixSetDiagV3",
    "OneHot.axis 0",
    "OneHot.uint8 outside",
    "OneHot.depth at run time",
    "OneHot.bool",
    "RFFT.batch",
    "Rank",
    "ResizeArea.down",
    "ResizeArea.fraction",
    "Roll.negative",
    "ScatterNd",
    "ScatterNd.bool",
    "ScatterNd.rows",
    "SegmentMax",
    "SegmentMean",
    "SparseFillEmptyRows",
    "Squeeze.all of a free batch",
    "Sum.axis at run time",
    "TopKV2.int32",
    "TruncateMod.int32",
    "UnsortedSegmentMax",
    "UnsortedSegmentSum.dropped",
    "If.loop in if in loop",
    "If.three deep",
    "If.case",
    "keras.RandomHue(0.5, (0, 1))",
    "TFL_ABS.int32",
    "TFL_ABS.int64",
    "TFL_CAST.float32-uint8",
    "TFL_COMPLEX_ABS",
    "TFL_DIV",
    "TFL_LOCAL_RESPONSE_NORMALIZATION",
    "TFL_NON_MAX_SUPPRESSION_V5",
    "TFL_ONE_HOT.int64 outside",
    "TFL_RANK",
    "TFL_SQUEEZE.rank at run time",
    "TFL_SLICE.begin at run time",
)
"""Cases that tf2onnx alone gets wrong or cannot do, or that trtconv refused although it can."""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import operator_table

    return operator_table


def verdicts(*cases: str) -> dict[str, str]:
    """What the script says of cases, by name."""
    run = subprocess.run([sys.executable, SCRIPT, *cases], capture_output=True, text=True, check=False)
    found = dict(re.findall(r"^(\S.*?): ([\w ]+): ", run.stdout, re.MULTILINE))
    assert found, run.stderr[-2000:]
    return found


@pytest.mark.tf
def test_operators_that_were_mended() -> None:
    found = verdicts(*MENDED)
    assert {name: found.get(name) for name in MENDED if found.get(name) not in ("right", "replaced")} == {}


@pytest.mark.tf
@pytest.mark.slow
def test_no_operator_is_wrong_in_silence_or_refused_without_need() -> None:
    assert [f"{name}: {word}" for name, word in verdicts().items() if word.isupper()] == []


def test_integers_have_to_be_equal_and_infinities_in_their_places(script: Any) -> None:
    big = np.array([2**31 - 1, 5], np.int32)
    assert script.difference(big, big) == ""
    assert script.difference(big, big - np.int32([1, 0])) == "2147483646 instead of 2147483647"
    assert "instead of infinity" in script.difference(np.float32([np.inf, 1]), np.float32([3e38, 1]))
    assert script.difference(np.float32([1, 2]), np.float32([np.nan, 2])) == "not finite"
    assert script.difference(np.float32([np.nan, 2]), np.float32([7, 2])) == ""
    assert script.difference(np.float32([1, 1000]), np.float32([1.05, 1000])) == ""
    assert script.difference(np.float32([1, 1000]), np.float32([1.2, 1000])) == "off by 0.0002"
    assert "instead of float32 [2]" in script.difference(np.zeros(2, np.float32), np.zeros(3, np.float32))


def test_every_case_has_a_name_of_its_own(script: Any) -> None:
    names = [case.name for case in script.CASES]
    assert len(set(names)) == len(names)
    assert set(MENDED) <= set(names)


def test_rows_that_a_file_has_are_not_judged_again(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def judged(cases: Any) -> Any:
        for case in cases:
            asked.append(case.name)
            yield case, {"ours": "right", "bare": "right"}

    monkeypatch.setattr(script, "judged", judged)
    cases, rows = script.CASES[:6], tmp_path / "rows"
    parts = [script.part_of(cases, f"{number}/4") for number in (1, 2, 3, 4)]
    assert sorted(case.name for part in parts for case in part) == sorted(case.name for case in cases)
    list(script.kept(parts[0], rows))
    assert [case.name for case, _ in script.kept(cases, rows)] != []
    assert sorted(asked) == sorted(case.name for case in cases)


def test_a_case_that_ends_its_process_is_told_by_what_it_did_last(script: Any, tmp_path: Path) -> None:
    told: list[dict[str, str]] = []
    row = script._both({"ops": "Abs"}, told.append, lambda: "right", lambda: "right")
    assert row == {"ops": "Abs", "ours": "right", "bare": "right"}
    assert [(each["ours"], each["bare"]) for each in told] == [
        ("crash: the process ends", "unknown"),
        ("right", "crash: the process ends"),
    ]
    assert script.verdict(told[0]) == "REFUSED WRONGLY"
    assert script.verdict(told[1]) == "replaced"

"""The table of cases is whole; some of it runs here, the rest with `make test-slow` and `make cases`."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.cases import onnx_files, tensorflow_files
from tests.cases.table import cases

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "cases.py"))
CASES = {case.name: case for case in cases()}


def test_every_case_has_a_name_of_its_own_and_files() -> None:
    assert len(CASES) == len(cases())
    for case in CASES.values():
        assert hasattr(onnx_files, case.files) or hasattr(tensorflow_files, case.files), case.name


def outcome(name: str) -> tuple[bool, str]:
    ((_, _, today, _, right),) = [row for row in SCRIPT["rows"](None, name) if row[1] == name]
    return right, today


@pytest.mark.parametrize("name", ["ort_fp16", "logmel_calib, verify"])
def test_a_case_is_made_run_and_judged(name: str) -> None:
    right, today = outcome(name)
    assert right, today


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_case(name: str) -> None:
    right, today = outcome(name)
    assert right, today


def test_files_can_come_from_other_makers(tmp_path: Path) -> None:
    (tmp_path / "make").mkdir()
    (tmp_path / "make" / "damaged_npz.py").write_text("raise SystemExit('nothing is made here')")
    rows = list(SCRIPT["rows"](tmp_path, "damaged_npz, infer"))
    assert [(today, right) for _, _, today, _, right in rows] == [("files not made: nothing is made here", False)]

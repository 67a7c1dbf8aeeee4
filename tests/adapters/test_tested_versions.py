"""Versions that trtconv's tests saw: said by doctor, warned of by name before a build or a run with others."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from trtconv.adapters import tensorrt
from trtconv.adapters.cuda_driver import Gpu
from trtconv.adapters.tensorrt import FLAVORS, Loaded
from trtconv.engines.plan import header, preflight

ROOT = Path(__file__).parents[2]
RTX, PROPER = FLAVORS["rtx"], FLAVORS["tensorrt"]


@pytest.mark.parametrize(
    ("version", "building", "running"),
    [("1.4.0.76", "", ""), ("1.5.0.114", "", ""), ("1.6.0.1", "1.6.0.1", "1.6.0.1"), ("1.7.1.116", "", "1.7.1.116")],
)
def test_a_version_that_no_test_saw_is_named(version: str, building: str, running: str) -> None:
    for wanted, kind in ((building, False), (running, True)):
        said = tensorrt.untested(RTX, version, running=kind)
        assert (f"TensorRT-RTX {wanted} (tested: built with 1.4, 1.5, 1.7; ran with 1.4, 1.5)" in said) == bool(wanted)
        assert bool(said) == bool(wanted)


def test_tensorrt_itself_was_never_run() -> None:
    assert "(tested: only its recorded interface)" in tensorrt.untested(PROPER, "10.16.1.11", running=True)


def test_the_packages_range_is_what_was_tested() -> None:
    """Of tensorrt-rtx, every minor version that pip may choose is one with which the tests build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (asked,) = project["optional-dependencies"]["rtx"]
    since, before = (int(re.search(rf"{sign}1\.(\d+)", asked)[1]) for sign in (">=", "<"))  # type: ignore[index]
    left_out = {int(minor) for minor in re.findall(r"!=1\.(\d+)\.\*", asked)}
    assert {(1, minor) for minor in range(since, before) if minor not in left_out} == set(RTX.built)
    assert (RTX.since, RTX.before) == ((1, since), (1, before))
    assert set(RTX.ran) <= set(RTX.built)


def test_loading_an_engine_with_such_a_version_is_doubted(tmp_path: Path) -> None:
    head = header.Header("rtx", "", None, 100, (), None)
    gpu = Gpu(0, "NVIDIA H100", (9, 0), 80 << 30, False)
    said = {
        version: list(preflight.doubts(tmp_path / "x.engine", head, Loaded(RTX, None, version), gpu))  # type: ignore[arg-type]
        for version in ("1.5.0.114", "1.6.0.1")
    }
    assert not any("was not tested" in text for text in said["1.5.0.114"])
    assert any("was not tested to run engines with TensorRT-RTX 1.6.0.1" in text for text in said["1.6.0.1"])


@pytest.mark.rtx
def test_doctor_says_it(trtconv) -> None:
    installed = tensorrt.load("rtx").version
    facts = json.loads(trtconv("doctor", "--json").stdout)["tensorrt"]["TensorRT-RTX"]
    assert facts["installed"] == installed
    assert facts["tested"] == "built with 1.4, 1.5, 1.7; ran with 1.4, 1.5"
    expected = [tensorrt.untested(RTX, installed, running=running) for running in (False, True)]
    assert facts["warnings"] == [text for text in expected if text]
    text = trtconv("doctor").stdout
    assert f"TensorRT-RTX {installed}; tested: {facts['tested']}" in text
    assert all(f"warning: {warning}" in text for warning in facts["warnings"])

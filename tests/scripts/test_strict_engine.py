"""Tables that compare: strict arithmetic with engines, and one commit's lowering with another's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import networks

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import strict_engine  # noqa: E402
import zoo_against  # noqa: E402
from strict_engine import Row, Side  # noqa: E402
from zoo_against import Result  # noqa: E402


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_case_strictly_on_both_ends(tmp_path: Path) -> None:
    done = run("strict_engine.py", "hfmask on prefill", "--strict-only", "--markdown", str(tmp_path / "t.md"))
    assert done.returncode == 0, done.stderr
    assert "1 networks" in done.stdout
    assert "1 hold" in done.stdout
    assert "same verdict: kept" in (tmp_path / "t.md").read_text()


def test_what_did_not_run_does_not_hold() -> None:
    assert not Row("x", Side(1e-4), Side(why="no GPU")).holds
    assert not Row("x", trouble="SourceError: it cannot be read").holds


@pytest.mark.parametrize(
    ("strict", "engine", "holds"),
    [
        (Side(9e-4), Side(1e-6), True),
        (Side(2e-3), Side(1.1e-3), True),
        (Side(2e-3), Side(9e-4), False),
        (Side(2e-3), Side(5e-3), False),
        (Side(2e-3), Side(2e-3, missed=("one",)), False),
        (Side(np.inf, missed=("one",)), Side(np.inf, missed=("two",)), True),
        (Side(np.inf, missed=("one",)), Side(0.5, missed=("one",)), False),
    ],
)
def test_same_verdict_and_a_factor_of_two_above_the_floor(strict: Side, engine: Side, holds: bool) -> None:
    assert Row("x", strict, engine).holds == holds


def test_profiles_that_begin_with_nothing_cached(tmp_path: Path) -> None:
    model, samples = strict_engine.of_case("hfmask on prefill", tmp_path)
    (profile,) = strict_engine.profiles(model, samples)
    assert profile["past_k"].minimum[2] == 0
    assert profile["past_k"].optimum[2] > 0


@pytest.mark.parametrize(
    ("then", "now", "holds"),
    [
        (Result(60.0, 0.0, ""), Result(59.8, 1.9, ""), True),
        (Result(60.0, 0.0, ""), Result(59.6, 0.0, ""), False),
        (Result(60.0, 0.0, ""), Result(61.0, 2.1, ""), False),
        (Result(60.0, 0.0, ""), Result(None, 0.0, ""), False),
        (Result(None, 0.0, ""), Result(40.0, 0.0, ""), True),
        (Result(-np.inf, 0.0, ""), Result(-np.inf, 0.0, ""), True),
    ],
)
def test_a_row_falls_by_decibels_or_by_what_stays_fp32(then: Result, now: Result, holds: bool) -> None:
    found, text = zoo_against.line("net", "fp16", then, now)
    assert found == holds
    assert ("FALLS" in text) != holds


def test_a_commit_beside_itself(tmp_path: Path) -> None:
    folder = tmp_path / "nets" / "perceptron"
    folder.mkdir(parents=True)
    onnx.save(networks.perceptron(), folder / "model.onnx")
    for seed, name in enumerate(("calibration", "heldout")):
        rows = np.random.default_rng(seed).normal(size=(16, 64)).astype(np.float32)
        np.savez(folder / f"{name}.npz", **{onnx.load(folder / "model.onnx").graph.input[0].name: rows})
    arguments = ("perceptron", "--folder", str(folder.parent), "--precision", "int8")
    done = run("zoo_against.py", str(SCRIPTS.parent), *arguments)
    assert done.returncode == 0, done.stderr
    assert "nothing falls" in done.stdout

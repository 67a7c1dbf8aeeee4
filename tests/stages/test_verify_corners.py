"""verify at the corners of an engine's profiles: right at the samples' own shape is not right at every shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.networks import model, node, value
from trtconv import engines
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, ShapeRange
from trtconv.engines.plan import sidecar
from trtconv.report.verify import verify_text
from trtconv.stages.verify import Verdict, VerifyRequest, verify
from trtconv.stages.verify.shapes import odd, resized


def spans(**ranges: tuple[list[int], list[int], list[int]]) -> dict[str, ShapeRange]:
    return {name: ShapeRange(*map(tuple, bounds)) for name, bounds in ranges.items()}


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        raise EnvironmentProblem("no GPU here", hint="none")

    monkeypatch.setattr(engines, "open_engine", refuse)


def compared(folder: Path, network: Any, typed: Any, profile: dict[str, ShapeRange], data: Path) -> tuple[Any, Verdict]:
    onnx.save(network, folder / "model.onnx")
    onnx.save(typed, folder / "typed.onnx")
    facts = {"engine": {"size": 1}, "profiles": sidecar.profile_facts((profile,))}
    sidecar.write(folder / "m.engine", facts)
    candidates = {"typed": folder / "typed.onnx", "engine": folder / "m.engine"}
    request = VerifyRequest(folder / "model.onnx", "FP32 ONNX", candidates, FeedSpec(data))
    result = verify(request, ignore)
    return result, result.verdicts[0]


def total(kind: int, dtype: Any) -> Any:
    """x plus a little of the sum over the whole batch."""
    nodes = [
        node("Cast", "x", "h", to=kind),
        node("ReduceSum", "h axis", "sum", keepdims=1),
        node("Mul", "sum little", "part"),
        node("Add", "h part", "s"),
        node("Cast", "s", "y", to=1),
    ]
    constants = {"axis": np.array([0]), "little": np.full(1, 1e-4, dtype)}
    return model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], constants, opset=17)


def test_a_sum_that_overflows_above_the_samples_batch(tmp_path: Path, no_gpu: None) -> None:
    x = np.random.default_rng(0).uniform(900, 1000, (4, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    profile = spans(x=([1, 4], [8, 4], [128, 4]))

    result, verdict = compared(tmp_path, total(1, np.float32), total(10, np.float16), profile, tmp_path / "x.npy")

    assert verdict.outputs[0].snr_db > 40
    assert verdict.basis == "strict"
    assert [(c.place, c.shapes["x"][0], bool(c.fault)) for c in verdict.corners] == [
        ("min", 1, False),
        ("opt", 8, False),
        ("max", 128, True),
        ("odd", 69, True),
    ]
    assert result.violations == (
        "typed: at the max of profile 0: output 'y' holds NaN or infinity",
        "typed: at the odd of profile 0: output 'y' holds NaN or infinity",
    )
    (line,) = [line.split() for line in verify_text(result).splitlines() if "128x4" in line]
    assert (line[:4], line[-1]) == (["0", "max", "x", "128x4"], "MISSED")


def test_an_empty_past_is_a_corner(tmp_path: Path, no_gpu: None) -> None:
    def network(kind: int) -> Any:
        nodes = [
            node("Cast", "x", "h", to=kind),
            node("Cast", "past", "p", to=kind),
            node("Concat", "p h", "all", axis=1),
            node("Cast", "all", "y", to=1),
            node("Cast", "p", "kept", to=1),
        ]
        ends = [value("x", ["n", "new", 4]), value("past", ["n", "old", 4])]
        return model(nodes, ends, [value("y", ["n", "total", 4]), value("kept", ["n", "old", 4])])

    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=(2, length, 4)).astype(np.float32) for name, length in (("x", 1), ("past", 5))}
    np.savez(tmp_path / "d.npz", **data)
    profile = spans(x=([1, 1, 4], [1, 1, 4], [1, 8, 4]), past=([1, 0, 4], [1, 5, 4], [1, 16, 4]))

    result, verdict = compared(tmp_path, network(1), network(10), profile, tmp_path / "d.npz")

    assert result.violations == ()
    assert next((c.place, c.shapes["past"][1], c.problem) for c in verdict.corners) == ("min", 0, "")
    assert all(c.worst is not None for c in verdict.corners)


def test_shapes_that_fp32_refuses_are_told_and_no_fault(tmp_path: Path, no_gpu: None) -> None:
    def network(kind: int) -> Any:
        nodes = [
            *(node("Cast", name, f"{name}h", to=kind) for name in "ab"),
            node("Add", "ah bh", "s"),
            node("Cast", "s", "y", to=1),
        ]
        return model(nodes, [value("a", ["n", "k"]), value("b", ["n", "k"])], [value("y", ["n", "k"])])

    np.savez(tmp_path / "d.npz", **{name: np.random.default_rng(0).normal(size=(4, 6)).astype("f4") for name in "ab"})
    profile = spans(a=([1, 2], [4, 6], [4, 8]), b=([1, 3], [4, 6], [4, 7]))
    result, verdict = compared(tmp_path, network(1), network(10), profile, tmp_path / "d.npz")
    assert result.violations == ()
    told = {c.place: c.problem for c in verdict.corners}
    assert told["opt"] == ""
    assert told["max"].startswith("the FP32 model refuses it: ")
    assert "not compared: the FP32 model refuses it" in verify_text(result)


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        (spans(x=([1, 3], [8, 3], [32, 3])), {"x": (21, 3)}),
        (spans(x=([1, 3], [1, 3], [1, 3])), None),
        (spans(x=([1], [2], [3])), None),
    ],
)
def test_the_odd_shape_lies_between(profile: dict[str, ShapeRange], wanted: Any) -> None:
    assert odd(profile) == wanted


def test_a_length_that_is_a_sum_stays_one() -> None:
    lengths = spans(new=([1], [1], [9]), past=([0], [5], [17]), mask=([1], [6], [26]))
    found = odd(lengths)
    assert found is not None
    assert found["mask"][0] == found["new"][0] + found["past"][0]
    assert found not in ({n: s.minimum for n, s in lengths.items()}, {n: s.optimum for n, s in lengths.items()})


def test_samples_are_cut_and_repeated() -> None:
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(resized(array, (3, 2)), [[0, 1], [3, 4], [0, 1]])
    assert resized(array, (0, 3)).shape == (0, 3)
    np.testing.assert_array_equal(resized(np.zeros((0, 2)), (2, 2)), np.zeros((2, 2)))

"""Operators with rules of our own, against what Paddle 3.2.2 computed (``cases.py`` records it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.sources.paddle.cases import CASES, RECORDED
from tests.sources.paddle.programs import Writer
from trtconv.core.events import Message
from trtconv.core.records import InputSpec, SourceSpec
from trtconv.graph import check, clean
from trtconv.sources.paddle import cutting, files, lowering, network, rules, signatures, to_onnx
from trtconv.sources.paddle.program import Operator
from trtconv.sources.records import Wanted

WITH_CONVERTER = {name for name in CASES if name.startswith(("multiclass", "generate", "two-stages"))}
"""Cases with operators that paddle2onnx converts."""


def ran(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    clean.clean(model)
    check.validate(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def lowered(net: Writer, folder: Path) -> Any:
    """The model of a program of which rules make everything."""
    found = network.read(files.find(net.save(folder)))
    plan = lowering.plan(cutting.cut(found.program, found.program.fetches()))
    assert plan.rest is None
    model = lowering.empty(17)
    lowering.finish(model, plan, found, found.tensors(), [])
    return model


def recorded(name: str, side: str) -> dict[str, Any]:
    with np.load(RECORDED / f"{name}.npz") as stored:
        return {key.partition(".")[2]: stored[key] for key in stored if key.startswith(f"{side}.")}


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
        largest = max(np.abs(array).max(), 1e-9)
        assert np.abs(found[name].astype(float) - array).max() <= 1e-6 * largest, name


@pytest.mark.parametrize("name", sorted(CASES.keys() - WITH_CONVERTER))
def test_an_operator_as_paddle_computes_it(name: str, tmp_path: Path) -> None:
    same(ran(lowered(CASES[name](), tmp_path), recorded(name, "in")), recorded(name, "out"))


@pytest.mark.paddle
@pytest.mark.parametrize("name", sorted(WITH_CONVERTER))
def test_a_detector_as_paddle_computes_it(name: str, tmp_path: Path) -> None:
    path = CASES[name]().save(tmp_path)
    told: list[Any] = []
    made = to_onnx.to_onnx(Wanted(SourceSpec(path), (), (), 17, tmp_path), told.append)
    assert not [event for event in told if isinstance(event, Message) and event.level == "warning"]
    same(ran(made.model, recorded(name, "in")), recorded(name, "out"))
    assert {file.name for file in tmp_path.iterdir()} <= {"model.pdiparams", "model.pdmodel"}


@pytest.mark.paddle
@pytest.mark.parametrize(("asked", "made"), [(13, 17), (18, 18)])
def test_opsets_around_the_one_that_rules_are_written_in(asked: int, made: int, tmp_path: Path) -> None:
    told: list[Any] = []
    path = CASES["two-stages"]().save(tmp_path)
    found = to_onnx.to_onnx(Wanted(SourceSpec(path), (), (), asked, tmp_path), told.append)
    assert found.model.opset_import[0].version == made
    assert any("needs opset 17" in str(event) for event in told) == (asked < made)
    same(ran(found.model, recorded("two-stages", "in")), recorded("two-stages", "out"))


def test_padding_as_numpy_computes_it(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    for mode, how in (("constant", {"constant_values": 1.5}), ("edge", {}), ("reflect", {})):
        net = Writer()
        net.feed("x", (-1, 3, 4, 5))
        net.fetch(net.one("pad2d", {"X": "x"}, "y", (-1, 3, 7, 8), paddings=[1, 2, 0, 3], mode=mode, pad_value=1.5))
        wanted = np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 3)], mode=mode, **how)  # type: ignore[call-overload]
        same(ran(lowered(net, tmp_path / mode), {"x": x}), {"y": wanted})


def test_activations_as_numpy_computes_them(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    cases: list[tuple[str, dict[str, Any], Any]] = [
        ("hardtanh", {"t_min": -0.2, "t_max": 0.3}, np.clip(x, -0.2, 0.3)),
        ("celu", {"alpha": 0.7}, np.where(x > 0, x, 0.7 * np.expm1(x / 0.7))),
        ("rrelu", {"lower": 0.1, "upper": 0.3, "is_test": True}, np.where(x > 0, x, 0.2 * x)),
    ]
    for kind, attributes, wanted in cases:
        net = Writer()
        net.feed("x", (-1, 6))
        net.fetch(net.one(kind, {"X": "x"}, "y", (-1, 6), **attributes))
        same(ran(lowered(net, tmp_path / kind), {"x": x}), {"y": wanted.astype(np.float32)})


def test_operators_of_paddle_3_have_their_parameters_by_place() -> None:
    op = Operator("multiclass_nms3", {"0": ["b"], "1": ["s"]}, {"0": ["o"], "1": ["i"], "2": ["n"]})
    named = signatures.named(op)
    assert named.inputs == {"BBoxes": ["b"], "Scores": ["s"]}
    assert named.outputs == {"Out": ["o"], "Index": ["i"], "NmsRoisNum": ["n"]}
    assert signatures.named(Operator("celu", {"0": ["x"]}, {"0": ["y"]})).inputs == {"X": ["x"]}
    assert signatures.named(named) == named


def test_a_rule_that_needs_a_size_is_told_it_by_the_job(tmp_path: Path) -> None:
    net = Writer()
    net.feed("x", (-1, 8, -1, -1)), net.feed("image", (-1, 3, -1, -1))
    net.variable("boxes", (-1, -1, 1, 4)), net.variable("var", (-1, -1, 1, 4))
    net.op(
        "prior_box",
        {"Input": "x", "Image": "image"},
        {"Boxes": "boxes", "Variances": "var"},
        min_sizes=[4.0],
        aspect_ratios=[1.0],
        variances=[0.1, 0.1, 0.2, 0.2],
        step_w=0.0,
        step_h=0.0,
        offset=0.5,
    )
    net.fetch("boxes")
    found = network.read(files.find(net.save(tmp_path)))
    plan = lowering.plan(cutting.cut(found.program, ["boxes"]))
    with pytest.raises(rules.Refused, match="the size of the feature map is not known") as caught:
        lowering.finish(lowering.empty(17), plan, found, {}, [])
    assert "--input" in caught.value.hint
    model = lowering.empty(17)
    shapes = [InputSpec("x", ("batch", 8, 2, 3)), InputSpec("image", ("batch", 3, 20, 30))]
    lowering.finish(model, plan, found, {}, shapes)
    boxes = ran(model, {"x": np.zeros((1, 8, 2, 3), "f"), "image": np.zeros((1, 3, 20, 30), "f")})["boxes"]
    assert boxes.shape == (2, 3, 1, 4)
    np.testing.assert_allclose(boxes[1, 2, 0], [23 / 30, 13 / 20, 27 / 30, 17 / 20], rtol=1e-6)


@pytest.mark.parametrize(("size", "bins"), [(6, 4), (6, 3), (7, 1)])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pooling_with_bins_of_several_sizes(size: int, bins: int, kind: str, tmp_path: Path) -> None:
    net = Writer()
    net.feed("x", (-1, 2, size, size))
    net.fetch(
        net.one("pool2d", {"X": "x"}, "y", (-1, 2, bins, bins), pooling_type=kind, ksize=[bins, bins], adaptive=True)
    )
    x = np.random.default_rng(0).standard_normal((2, 2, size, size)).astype(np.float32)
    ends = [(place * size // bins, -(-(place + 1) * size // bins)) for place in range(bins)]
    pooled = np.mean if kind == "avg" else np.max
    wanted = [[pooled(x[:, :, a:b, c:d], axis=(2, 3)) for c, d in ends] for a, b in ends]
    same(ran(lowered(net, tmp_path), {"x": x}), {"y": np.moveaxis(np.array(wanted), (0, 1), (2, 3)).astype(np.float32)})


@pytest.mark.parametrize(("bins", "axes"), [([1, -1], (2,)), ([-1, 1], (3,)), ([3, -1], ()), ([1, 2], ())])
def test_adaptive_pooling_of_a_width_that_varies(bins: list[int], axes: tuple[int, ...], tmp_path: Path) -> None:
    """As texts have it: one bin, or an axis that stays, needs no size; only what is cut into bins does."""
    net = Writer()
    net.feed("x", (-1, 2, 6, -1 if bins[1] != 2 else 8))
    net.fetch(net.one("pool2d", {"X": "x"}, "y", (-1, 2, -1, -1), pooling_type="avg", ksize=bins, adaptive=True))
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 8)).astype(np.float32)
    wanted = x.mean(axes, keepdims=True) if axes else x
    if bins[0] == 3:
        wanted = x.reshape(2, 2, 3, 2, 8).mean(3)
    if bins[1] == 2:
        wanted = x.mean(2, keepdims=True).reshape(2, 2, 1, 2, 4).mean(4)
    same(ran(lowered(net, tmp_path), {"x": x}), {"y": wanted})


def test_nearest_neighbour_with_aligned_corners(tmp_path: Path) -> None:
    net = Writer()
    net.feed("x", (-1, 2, 6, 6))
    how = {"out_h": 11, "out_w": 4, "scale": 0.0, "align_corners": True, "interp_method": "nearest"}
    net.fetch(net.one("nearest_interp", {"X": "x"}, "y", (-1, 2, 11, 4), **how))
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 6)).astype(np.float32)
    rows, columns = (np.floor(np.arange(count) * 5 / (count - 1) + 0.5).astype(int) for count in (11, 4))
    same(ran(lowered(net, tmp_path), {"x": x}), {"y": x[:, :, rows][:, :, :, columns]})


def test_sums_from_the_end_and_the_approximation_of_gelu(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    after = np.cumsum(x[:, ::-1], 1)[:, ::-1] - x
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    for kind, attributes, wanted in (
        ("cumsum", {"axis": 1, "exclusive": True, "reverse": True, "flatten": False}, after),
        ("gelu", {"approximate": True}, tanh),
        ("stanh", {"scale_a": 0.5, "scale_b": 1.7}, 1.7 * np.tanh(0.5 * x)),
    ):
        net = Writer()
        net.feed("x", (-1, 6))
        net.fetch(net.one(kind, {"X": "x"}, "y", (-1, 6), **attributes))
        same(ran(lowered(net, tmp_path / kind), {"x": x}), {"y": wanted.astype(np.float32)})


def test_transposed_convolution_of_a_size_that_it_names(tmp_path: Path) -> None:
    net = Writer()
    net.feed("x", (-1, 2, 3, 3))
    kernel = np.random.default_rng(0).standard_normal((2, 4, 3, 3)).astype(np.float32)
    net.weight("w", kernel)
    net.one(
        "conv2d_transpose",
        {"Input": "x", "Filter": "w"},
        "y",
        (-1, 4, 6, 5),
        out="Output",
        strides=[2, 2],
        paddings=[1, 1],
        dilations=[1, 1],
        groups=1,
        output_size=[6, 5],
    )
    net.fetch("y")
    x = np.random.default_rng(1).standard_normal((2, 2, 3, 3)).astype(np.float32)
    whole = np.zeros((2, 4, 8, 8))
    for row in range(3):
        for column in range(3):
            patch = np.einsum("bi,iokl->bokl", x[:, :, row, column], kernel)
            whole[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += patch
    same(ran(lowered(net, tmp_path), {"x": x}), {"y": whole[:, :, 1:7, 1:6].astype(np.float32)})

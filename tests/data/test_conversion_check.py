"""The check of a conversion: which faults it sees, in which draws, and what it leaves unjudged aloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from trtconv.core.input_use import Use
from trtconv.core.records import Precision, TensorInfo
from trtconv.data import conversion_check, draws
from trtconv.data.conversion_check import Comparing, Observed, Verdict
from trtconv.graph import clean
from trtconv.graph.input_uses import input_uses

Feeds = Mapping[str, np.ndarray]
Source = Callable[[Feeds], np.ndarray]


def model(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}'), path)
    return path


def judged(path: Path, source: Source, precision: Precision | None = None, **options: float) -> Verdict:
    """The verdict on a file whose one output y the source computes."""
    made = onnx.load(path)
    infos = [
        TensorInfo(
            v.name,
            str(onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)),
            tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in v.type.tensor_type.shape.dim),
        )
        for v in made.graph.input
    ]
    observed = conversion_check.observe(lambda given: {"y": source(given)}, infos, input_uses(made))
    comparing = Comparing(path, first=(), outputs_first=False, tolerance=1e-4, precision=precision or Precision())
    return comparing.compare(observed, **options)


def test_what_is_equal_is_right_on_all_draws(tmp_path: Path) -> None:
    path = model(tmp_path, "(float[n, 8] x) => (float[n, 8] y) { y = Tanh(x) }")
    verdict = judged(path, lambda given: np.tanh(given["x"]))
    assert (verdict.wrong, verdict.notes, verdict.draws, verdict.unchecked) == ([], [], 5, "")
    assert verdict.worst["y"].max_rel < 1e-6


WRONG = {
    "integers truncated instead of rounded down": (
        "(int32[n, 8] x) => (int32[n, 8] y) <int32 k = {3}> { y = Div(x, k) }",
        lambda g: g["x"] // 3,
    ),
    "one in two thousand million": (
        "(int32[n, 8] x) => (int32[n, 8] y) <float k = {1}> { f = Cast<to = 1>(x)\n y = Cast<to = 6>(f) }",
        lambda g: g["x"],
    ),
    "the last of repeated indices": (
        "(int64[n, 1] i, float[n] v) => (float[5] y) <float[5] z = {0, 0, 0, 0, 0}> { y = ScatterND(z, i, v) }",
        lambda g: np.bincount(g["i"][:, 0], g["v"], 5).astype(np.float32),
    ),
    "the last of equal ones": (
        "(float[n, 8] x) => (int64[n] y) { y = ArgMax<axis = 1, keepdims = 0, select_last_index = 1>(x) }",
        lambda g: g["x"].argmax(1),
    ),
    "positions outside counted from the end": (
        "(int64[n] i) => (float[n, 4] y) <int64 d = {4}, float[2] v = {0, 1}> { y = OneHot(i, d, v) }",
        lambda g: (g["i"][:, None] == np.arange(4)).astype(np.float32),
    ),
    "an angle without the whole turns": (
        "(float[n, 8] x) => (float[n, 8] y) <float t = {6.28}> { r = Mod<fmod = 1>(x, t)\n y = Sin(r) }",
        lambda g: np.sin(g["x"]),
    ),
    "only one of two branches": (
        "(bool c, float[n, 8] x) => (float[n, 8] y) { z = Neg(x)\n y = Where(c, x, x) }",
        lambda g: g["x"] if g["c"] else -g["x"],
    ),
    "large numbers cut off": (
        "(float[n, 8] x) => (float[n, 8] y) <float l = {-50}, float h = {50}> { y = Clip(x, l, h) }",
        lambda g: g["x"],
    ),
    "a finite number instead of infinity": (
        "(float[n, 8] x) => (float[n, 8] y) <float e = {1e-6}, float k = {1}> "
        "{ a = Abs(x)\n b = Max(a, e)\n y = Div(k, b) }",
        lambda g: 1 / np.abs(g["x"]),
    ),
}


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.filterwarnings("ignore:overflow")
def test_faults_that_ordinary_inputs_hide(tmp_path: Path, fault: str) -> None:
    text, source = WRONG[fault]
    verdict = judged(model(tmp_path, text), source)
    assert verdict.wrong, verdict
    assert not any("ordinary" in said for said in verdict.wrong) or "ScatterND" in text


def test_what_the_last_bit_of_the_inputs_decides_is_not_judged(tmp_path: Path) -> None:
    """Sums in another order: the sine of a large number is noise, and so is which of two equal sums is larger."""
    path = model(
        tmp_path,
        "(float[n, 64] x) => (float[n, 1] y) <float k = {1e4}> { s = ReduceSum(x, a)\n m = Mul(s, k)\n y = Sin(m) }",
    )
    made = onnx.load(path)
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "a"))
    onnx.save(made, path)
    verdict = judged(path, lambda g: np.sin(np.float32(1e4) * g["x"][:, ::-1].cumsum(1, np.float32)[:, -1:]))
    assert not [said for said in verdict.wrong if "ordinary" not in said]
    assert any("last bit" in note for note in verdict.notes)


def test_denormal_numbers_that_the_source_takes_for_zeros(tmp_path: Path) -> None:
    path = model(tmp_path, "(float[n, 8] x) => (float[n, 8] y) { y = Sign(x) }")
    verdict = judged(path, lambda g: np.sign(draws.flushed(g)["x"]))
    assert verdict.wrong == []
    assert verdict.notes == [
        "output 'y' on tiny inputs is right but for denormal numbers, which the source takes for zeros"
    ]


def test_denormal_numbers_that_decide_a_shape(tmp_path: Path) -> None:
    path = model(tmp_path, "(float[8] x) => (int64[1, k] y) { y = NonZero(x) }")
    verdict = judged(path, lambda g: np.array(np.nonzero(draws.flushed(g)["x"])))
    assert verdict.wrong == []
    assert verdict.notes == ["output 'y' has another shape on denormal numbers: not judged"]


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (
            "(float[n, 8] x) => (float[n, 8] y) <float k = {5e37}> { y = Mul(x, k) }",
            lambda g: np.nan_to_num(g["x"] * np.float32(5e37)),
        ),
        (
            "(float[n, 8] x) => (uint8[n, 8] y) { y = Cast<to = 2>(x) }",
            lambda g: np.clip(g["x"], 0, 255).astype(np.uint8),
        ),
    ],
)
def test_a_source_that_cuts_off_at_the_ends_of_a_type(tmp_path: Path, text: str, source: Source) -> None:
    """Infinity as the largest number, -4 as the smallest byte: nothing of that is judged on ordinary inputs."""

    def ordinary_as_onnx(g: Feeds) -> np.ndarray:
        with np.errstate(all="ignore"):
            return source(g)

    path = model(tmp_path, text)
    cutting = judged(path, ordinary_as_onnx, Precision(cuts_off=True))
    assert not [said for said in cutting.wrong if "ordinary" not in said]
    assert any("cuts off at the ends of their type" in note for note in cutting.notes)
    assert judged(path, ordinary_as_onnx).wrong
    twice = judged(
        path, lambda g: (ordinary_as_onnx(g) / 2).astype(ordinary_as_onnx(g).dtype), Precision(cuts_off=True)
    )
    assert twice.wrong


def test_a_source_that_takes_the_lower_half_of_long_integers(tmp_path: Path) -> None:
    path = model(tmp_path, "(int64[n, 8] x) => (bool[n, 8] y) <int64 k = {0}> { y = Equal(x, k) }")

    def lower(g: Feeds) -> np.ndarray:
        return np.asarray(g["x"].astype(np.int32) == 0)

    verdict = judged(path, lower, Precision(cuts_off=True))
    assert verdict.wrong == []
    assert any("more than 32 bits" in note for note in verdict.notes)
    assert judged(path, lower).wrong
    assert judged(path, lambda g: ~lower(g), Precision(cuts_off=True)).wrong


@pytest.mark.parametrize(
    ("size", "use"), [("2, 2", Use("position", 3)), ("2, 5", Use("position", 2)), (None, Use("size"))]
)
def test_slices_begin_where_they_have_room(tmp_path: Path, size: str | None, use: Use) -> None:
    inputs = "float[4, 6] x, int64[2] at" + (", int64[2] size" if size is None else "")
    made = "" if size is None else f"size = Constant<value = int64[2] {{{size}}}>()\n "
    text = f"({inputs}) => (float[a, b] y) {{ {made}end = Add(at, size)\n y = Slice(x, at, end) }}"
    loaded = onnx.load(model(tmp_path, text))
    clean.prepare(loaded)
    assert input_uses(loaded)["at"] == use


def test_steps_of_a_quantized_source(tmp_path: Path) -> None:
    path = model(tmp_path, "(int8[n, 8] x) => (int8[n, 8] y) { y = Identity(x) }")
    half = Precision(0.05, "q", steps={"y": (0.5, 3.0)}, ranges={"x": (-128, 127)})
    assert judged(path, lambda g: np.clip(g["x"].astype(int) + 2, -128, 127).astype(np.int8), half).wrong == []
    (said, *_) = judged(path, lambda g: np.clip(g["x"].astype(int) + 40, -128, 127).astype(np.int8), half).wrong
    assert "steps" in said


def test_a_model_that_no_runtime_loads_is_not_compared_and_says_so(tmp_path: Path) -> None:
    path = model(tmp_path, "(float[n, 8] x) => (float[n, 8] y) { y = Unheard(x) }")
    verdict = judged(path, lambda g: g["x"])
    assert (verdict.draws, verdict.wrong) == (0, [])
    assert "Unheard" in verdict.unchecked


def test_what_onnx_runtime_cannot_do_is_compared_through_the_reference(tmp_path: Path) -> None:
    """It has no Conv that pads by itself and has gaps in its kernel."""
    path = model(
        tmp_path,
        '(float[n, 1, h, w] x) => (float[n, 1, h, w] y) { y = Conv<auto_pad = "SAME_UPPER", '
        "dilations = [2, 2], kernel_shape = [3, 3]>(x, k) }",
    )
    made = onnx.load(path)
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[..., 1, 1] = 1
    made.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "k"))
    onnx.save(made, path)
    verdict = judged(path, lambda g: g["x"])
    assert (verdict.draws, verdict.wrong) == (5, [])


def test_inputs_that_a_source_refuses_are_narrowed_and_then_told() -> None:
    def picky(given: Feeds) -> dict[str, np.ndarray]:
        if (given["i"] == 0).any():
            raise ValueError("division by zero")
        if given["i"].max() > 1000:
            raise ValueError("too large")
        return {"y": given["i"]}

    observed = conversion_check.observe(picky, [TensorInfo("i", "int32", ("n", 8))], {})
    assert [row.kind for row in observed.rows] == list(draws.KINDS)
    assert all((row.inputs["i"] != 0).all() for row in observed.rows)

    def never(given: Feeds) -> dict[str, np.ndarray]:
        raise ValueError(f"never {given['i'].max()}")

    assert conversion_check.observe(never, [TensorInfo("i", "int32", ("n", 8))], {}).refused.startswith("never")


def test_what_takes_too_long_is_cut_short_and_told(tmp_path: Path) -> None:
    import time

    def slow(given: Feeds) -> dict[str, np.ndarray]:
        time.sleep(0.05)
        return {"y": given["x"]}

    observed = conversion_check.observe(slow, [TensorInfo("x", "float32", (2,))], {}, seconds=0.06)
    assert len(observed.rows) == 1
    assert "ties, wide, angles, tiny inputs, because the source takes too long" in observed.left_out[0]
    path = model(tmp_path, "(float[2] x) => (float[2] y) { y = Identity(x) }")
    verdict = Comparing(path, first=(), outputs_first=False, tolerance=1e-4, precision=Precision()).compare(observed)
    assert verdict.draws == 1
    assert verdict.notes[0].startswith("not compared on ties, wide, angles, tiny inputs")


def test_observations_survive_a_file(tmp_path: Path) -> None:
    observed = conversion_check.observe(
        lambda g: {"a.b": g["x"], "t": np.array(["?"])}, [TensorInfo("x", "int8", (2,))], {}
    )
    np.savez(tmp_path / "o.npz", **conversion_check.to_arrays(observed))
    with np.load(tmp_path / "o.npz") as stored:
        again = conversion_check.from_arrays(dict(stored))
    assert [row.kind for row in again.rows] == list(draws.KINDS)
    assert all((row.outputs["a.b"] == row.inputs["x"]).all() for row in again.rows)
    assert again.left_out == ["output 't', which holds texts"]
    assert isinstance(again, Observed)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_integers_cover_their_type(dtype: str) -> None:
    info, limits = TensorInfo("i", dtype, (4, 100)), np.iinfo(dtype)
    wide = draws.draw([info], "wide")["i"]
    assert (wide.dtype, wide.min(), wide.max()) == (np.dtype(dtype), limits.min, limits.max)
    place = {"i": Use("position", 7)}
    for kind in draws.KINDS:
        values = draws.draw([info], kind, place)["i"]
        assert 0 <= values.min() <= values.max() == 6
        assert len(np.unique(values)) < values.size
    beyond = draws.draw([info], "wide", {"i": Use("position", 7, below=True, above=True)})["i"]
    assert beyond.max() == 13
    assert beyond.min() == (-7 if limits.min < 0 else 0)
    assert draws.draw([info], "wide", {"i": Use("size")})["i"].max() <= 3


def test_truth_values_come_both_ways() -> None:
    info = TensorInfo("c", "bool", ())
    assert {bool(draws.draw([info], kind)["c"]) for kind in ("wide", "angles")} == {True, False}


def test_results_that_are_chosen_by_score(tmp_path: Path) -> None:
    """A detector: among equal scores another box may come first, on inputs that make scores equal; never on others."""
    path = model(tmp_path, "(float[n, 8] x) => (float[n, 8] y) { y = Tanh(x) }")

    def another(given: Feeds) -> np.ndarray:
        values = np.tanh(given["x"])
        return values[:, ::-1] if np.abs(given["x"]).max() > 10 else values

    assert judged(path, another).wrong
    verdict = judged(path, another, Precision(chooses=True))
    assert verdict.wrong == []
    assert all("chosen among scores" in note for note in verdict.notes)
    assert len(verdict.notes) == 2
    assert judged(path, lambda given: np.tanh(given["x"])[:, ::-1], Precision(chooses=True)).wrong


def test_integers_that_run_over_in_another_way_than_onnx_says_are_no_fault_of_the_model(tmp_path: Path) -> None:
    path = model(tmp_path, "(int32[n, 8] x) => (int32[n, 1] y) <int64[1] a = {1}> { y = ReduceSum(x, a) }")
    verdict = judged(path, lambda g: g["x"].sum(1, dtype=np.int32, keepdims=True))
    assert verdict.wrong == []


def test_what_is_nan_throughout_proves_nothing(tmp_path: Path) -> None:
    """Equal to the bit, and yet nothing was compared; an output beside it that has numbers is."""
    text = "(float[n, 8] x) => (float[n, 8] y) <float k = {-1}> { s = Mul(x, x)\n m = Sub(k, s)\n y = Sqrt(m) }"
    verdict = judged(model(tmp_path, text), lambda given: np.full_like(given["x"], np.nan))
    assert verdict.worst == {}
    assert "output 'y', which the source makes NaN or infinite on all of these inputs" in verdict.unchecked


def test_masks_of_ones_and_zeros_are_among_the_draws(tmp_path: Path) -> None:
    """As models of text have them: others put an infinity into every sum, and all that follows is NaN."""
    text = """(float[n, 8] x, int64[n, 8] mask) => (float[n, 8] y) <float one = {1}, float low = {-3e38}> {
        m = Cast<to = 1>(mask)
        off = Sub(one, m)
        z = Mul(off, low)
        s = Add(x, z)
        y = Softmax<axis = 1>(s)
    }"""

    def source(given: Feeds) -> np.ndarray:
        with np.errstate(all="ignore"):
            s = given["x"] + (np.float32(1) - given["mask"].astype(np.float32)) * np.float32(-3e38)
            e = np.exp(s - s.max(1, keepdims=True))
            return np.asarray(e / e.sum(1, keepdims=True), np.float32)

    verdict = judged(model(tmp_path, text), source)
    assert not verdict.unchecked
    assert not verdict.wrong
    assert 0 < verdict.worst["y"].max_rel < 1e-5

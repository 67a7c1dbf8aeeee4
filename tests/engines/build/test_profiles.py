"""Optimization profiles: defaults, mistakes, and the YAML that mends them."""

from __future__ import annotations

import pytest
import yaml

from trtconv.core.errors import UsageError
from trtconv.core.records import ShapeRange, TensorInfo
from trtconv.engines.build import profiles

IMAGE = TensorInfo("image", "float", ("batch", 3, 8, 8))
TEXT = TensorInfo("ids", "int64", ("batch", "length"))
FIXED = TensorInfo("mask", "bool", (4,))


def spans(low: int, opt: int, high: int) -> ShapeRange:
    return ShapeRange((low, 3, 8, 8), (opt, 3, 8, 8), (high, 3, 8, 8))


def test_the_default_covers_a_dynamic_batch() -> None:
    assert profiles.complete([IMAGE, FIXED], ()) == ({"image": spans(1, 8, 32)},)


def test_a_static_model_needs_none() -> None:
    assert profiles.complete([FIXED], ()) == ()
    exact = ShapeRange((4,), (4,), (4,))
    assert profiles.complete([FIXED], ({"mask": exact},)) == ()


def test_what_is_given_is_kept() -> None:
    given = ({"image": spans(1, 2, 3)}, {"image": spans(4, 5, 6)})
    assert profiles.complete([IMAGE], given) == given


def test_more_dynamic_dimensions_need_a_profile_and_the_yaml_shown_is_one() -> None:
    with pytest.raises(UsageError, match=r"'ids' of shape \[batch, length\]") as raised:
        profiles.complete([IMAGE, TEXT], ())
    assert raised.value.exit_code == 2
    shown = yaml.safe_load(raised.value.hint.partition("\n")[2])
    given = {
        name: ShapeRange(*(tuple(spec["profile"][b]) for b in ("min", "opt", "max")))
        for name, spec in shown["inputs"].items()
    }
    assert profiles.complete([IMAGE, TEXT], (given,)) == (given,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"imagee": spans(1, 2, 3)}, r"unknown input 'imagee' \(did you mean 'image'\?\)"),
        ({"image": spans(3, 2, 1)}, "'image' needs min <= opt <= max"),
        ({"image": spans(0, 0, 2)}, "opt of 'image' has 0 at dimension 0, expected at least 1"),
        ({"image": ShapeRange((1, 3), (2, 3), (3, 3))}, "min of 'image' has 2 dimensions, the input .* has 4"),
        ({"image": ShapeRange((1, 4, 8, 8), (1, 4, 8, 8), (1, 4, 8, 8))}, "has 4 at dimension 1, .* has a fixed 3"),
    ],
)
def test_mistakes(given: dict[str, ShapeRange], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        profiles.complete([IMAGE], (given,))


def test_all_mistakes_at_once() -> None:
    with pytest.raises(UsageError, match=r"'nothing'.*; input 'ids' of shape .* is dynamic, but has no profile"):
        profiles.complete([IMAGE, TEXT], ({"image": spans(1, 2, 3), "nothing": spans(1, 2, 3)},))


def test_choosing() -> None:
    both = ({"image": spans(1, 2, 3)}, {"image": spans(4, 5, 6)})
    assert profiles.choose(both, {"image": (3, 3, 8, 8)}) == 0
    assert profiles.choose(both, {"image": (5, 3, 8, 8), "mask": (4,)}) == 1
    with pytest.raises(UsageError, match=r"shape \[9, 3, 8, 8\]; the engine was built for \[1, .*\] to .* or \[4, "):
        profiles.choose(both, {"image": (9, 3, 8, 8)})


def test_a_minimum_of_nothing_is_taken_an_optimum_is_not() -> None:
    past = TensorInfo("past", "float", ("n", "old", 8))
    empty = {"past": ShapeRange((1, 0, 8), (1, 5, 8), (4, 16, 8))}
    assert profiles.complete([past], (empty,)) == (empty,)
    with pytest.raises(UsageError, match="opt of 'past' has 0 at dimension 1, expected at least 1"):
        profiles.complete([past], ({"past": ShapeRange((1, 0, 8), (1, 0, 8), (4, 16, 8))},))


def test_the_least_batch_is_that_of_all_profiles() -> None:
    spans = [{"x": ShapeRange((low, 3), (8, 3), (8, 3)), "k": ShapeRange((), (), ())} for low in (4, 2)]
    assert profiles.least_batch(spans) == 2
    assert profiles.least_batch(()) == 1


def test_shapes_for_a_batch() -> None:
    given = ({"image": spans(1, 8, 32), "ids": ShapeRange((1, 1), (8, 128), (32, 256))},)
    assert profiles.shapes_at([IMAGE, TEXT], given, 4) == {"image": (4, 3, 8, 8), "ids": (4, 128)}
    assert profiles.shapes_at([TEXT], (), 4) == {"ids": (4, 1)}
    assert profiles.usual_batch([IMAGE], given) == 8
    assert profiles.usual_batch([FIXED], ()) == 4
    assert profiles.usual_batch([IMAGE], ()) is None
    with pytest.raises(UsageError, match="'mask' has a fixed batch of 4, and 2 was asked for"):
        profiles.shapes_at([FIXED], (), 2)


VALUES = ({"s": ShapeRange((1, 4), (8, 4), (16, 4))}, {"s": ShapeRange((17, 4), (32, 4), (64, 4))})
TARGET = TensorInfo("s", "int64", (2,))


def test_values_choose_the_profile_too() -> None:
    shapes = ({"image": spans(1, 8, 32)}, {"image": spans(1, 8, 64)})
    assert profiles.choose((), {}, VALUES, {"s": (16, 4)}) == 0
    assert profiles.choose((), {}, VALUES, {"s": (17, 4)}) == 1
    assert profiles.choose(shapes, {"image": (8, 3, 8, 8)}, VALUES, {"s": (64, 4)}) == 1
    said = r"input 's' holds \[65, 4\]; the engine was built for \[1, 4\] to \[16, 4\] or \[17, 4\] to \[64, 4\]"
    with pytest.raises(UsageError, match=said) as raised:
        profiles.choose(shapes, {"image": (8, 3, 8, 8)}, VALUES, {"s": (65, 4)})
    assert "inputs.s.values" in raised.value.hint
    with pytest.raises(UsageError, match=r"input 'image' has shape \[64, 3, 8, 8\], and input 's' holds \[1, 4\]"):
        profiles.choose(shapes, {"image": (64, 3, 8, 8)}, VALUES, {"s": (1, 4)})  # each is in some profile


def test_an_input_without_samples_has_no_batch() -> None:
    shapes = ({"image": spans(1, 8, 32)},)
    for values in (VALUES, ()):
        assert profiles.usual_batch([TARGET, IMAGE], shapes, values) == 8
        assert profiles.shapes_at([TARGET, IMAGE], shapes, 5, values) == {"s": (2,), "image": (5, 3, 8, 8)}
    assert profiles.shapes_at([TARGET], (), 1, VALUES) == {"s": (2,)}
    with pytest.raises(UsageError, match="no input holds samples, and a batch of 4 was asked for"):
        profiles.shapes_at([TARGET], (), 4, VALUES)

import itertools
import math
import threading

import numpy as np
import pytest

from trtconv.calibration import collect as module
from trtconv.calibration.collect import Summary, collect
from trtconv.core.errors import UsageError
from trtconv.core.events import Progress, ignore


class Data:
    """Samples [n, 4] of one input ``x``."""

    def __init__(self, array):
        self.array = array
        self.sizes = []
        self.whole = {}
        self.axes = {"x": 0}

    def __len__(self):
        return len(self.array)

    def batches(self, size, seed=None):
        self.sizes.append(size)
        for start in range(0, len(self.array), size):
            yield {"x": self.array[start : start + size]}


TENSORS = {"double": lambda x: 2 * x, "square": lambda x: x * x, "shift": lambda x: x - 3}


def observe(fetch, whole=True):
    """Computes TENSORS."""
    return lambda feeds: {name: TENSORS[name](feeds["x"]).astype(np.float32) for name in fetch}


def measure(data, histograms=(), **options):
    settings = {"batch": 4, "seed": 0, "emit": ignore, **options}
    return collect(data, observe, ["x", *TENSORS], ["x"], histograms, **settings)


ARRAY = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


def test_magnitudes_are_those_of_all_samples():
    measured = measure(Data(ARRAY))
    assert measured.samples == 10
    assert measured.amax["x"] == np.abs(ARRAY).max()
    for name, function in TENSORS.items():
        assert measured.amax[name] == np.abs(function(ARRAY)).max()
    assert measured.histograms == {}


def test_histograms_count_every_value_once_whatever_the_batch():
    one, many = (measure(Data(ARRAY), ["x", "square"], batch=size) for size in (1, 10))
    for name in ("x", "square"):
        assert one.histograms[name].total == ARRAY.size
        np.testing.assert_array_equal(one.histograms[name].counts, many.histograms[name].counts)
        assert one.histograms[name].amax == measure(Data(ARRAY)).amax[name]


def test_summaries_tell_the_range_and_the_values_to_count():
    def summarised(fetch, whole):
        def run(feeds):
            squares = np.square(feeds["x"])
            return {"square": Summary(squares.max(axis=1), squares[:, ::2])}

        return run

    settings = {"batch": 4, "seed": 0, "emit": ignore}
    measured = collect(Data(ARRAY), summarised, ["square"], ["x"], ["square"], **settings)
    assert measured.amax == {"square": np.square(ARRAY).max()}
    assert measured.histograms["square"].total == ARRAY.size // 2
    broken = np.where(np.arange(40).reshape(10, 4) == 21, np.inf, ARRAY).astype(np.float32)
    with pytest.raises(UsageError, match="'square' holds infinity for sample 5"):
        collect(Data(broken), summarised, ["square"], ["x"], ["square"], **settings)


def test_progress_counts_samples():
    events = []
    measure(Data(ARRAY), emit=events.append)
    assert [(event.done, event.total, event.unit) for event in events if isinstance(event, Progress)] == [
        (4, 10, "samples"),
        (8, 10, "samples"),
        (10, 10, "samples"),
    ]


def test_batches_shrink_to_fit_into_memory_and_the_result_stays():
    data = Data(ARRAY)
    measured = measure(data, list(TENSORS), space=3 * 16 * 2)  # three tensors of 16 bytes a sample: two samples
    assert data.sizes == [1, 2]
    free = measure(Data(ARRAY), list(TENSORS))
    assert measured.amax == free.amax
    for name in TENSORS:
        np.testing.assert_array_equal(measured.histograms[name].counts, free.histograms[name].counts)


def test_a_few_samples_tell_the_range_of_tensors_that_nothing_quantizes(monkeypatch):
    monkeypatch.setattr(module, "SURVEY", 3)
    asked = []

    def recorded(fetch, whole):
        assert whole
        asked.append(list(fetch))
        return observe(fetch)

    settings = {"batch": 2, "seed": 0, "emit": ignore, "surveyed": ["square"]}
    rising = np.arange(40, dtype=np.float32).reshape(10, 4)
    measured = collect(Data(rising), recorded, ["x", *TENSORS], ["x"], [], **settings)
    assert measured.amax == {"x": 39, "double": 78, "square": 15**2, "shift": 36}  # two batches of two samples
    assert measured.samples == 10
    assert asked == [list(TENSORS), ["double", "shift"]]


@pytest.mark.parametrize("space", [module.MEMORY, 10])
def test_what_comes_after_the_survey_of_a_light_model_is_opened_beside_it(space, monkeypatch):
    monkeypatch.setattr(module, "SURVEY", 3)
    both, calls = threading.Barrier(2, timeout=30), itertools.count()

    def meeting(fetch, whole):
        if next(calls) < 2:
            both.wait()
        return observe(fetch)

    settings = {"batch": 2, "seed": 0, "emit": ignore, "surveyed": ["square"], "space": space}
    light = collect(Data(ARRAY), meeting, ["x", *TENSORS], ["x"], [], **settings, light=True)
    assert (
        light.amax == collect(Data(ARRAY), lambda fetch, _: observe(fetch), ["x", *TENSORS], ["x"], [], **settings).amax
    )


def test_a_selection_is_enough_of_some_tensors_after_the_survey(monkeypatch):
    monkeypatch.setattr(module, "SURVEY", 4)
    asked = []

    def selecting(fetch, whole):
        asked.append((list(fetch), whole))

        def run(feeds):
            found = observe(fetch)(feeds)
            return found if whole else {**found, "shift": Summary(found["shift"][:, ::2], found["shift"][:, ::2])}

        return run

    falling = -np.arange(40, dtype=np.float32).reshape(10, 4)
    measured = collect(
        Data(falling), selecting, ["x", *TENSORS], ["x"], ["shift"], batch=4, seed=0, emit=ignore, selected={"shift"}
    )
    assert asked == [(list(TENSORS), True), (list(TENSORS), False)]
    assert measured.amax == {"x": 39, "double": 78, "square": 39**2, "shift": 41}  # -42 was not selected
    assert measured.histograms["shift"].total == 4 * 4 + 6 * 2
    assert measured.histograms["shift"].amax == 41


def test_tensors_that_do_not_fit_together_take_more_passes():
    data = Data(ARRAY)
    measured = measure(data, list(TENSORS), space=10)  # two tensors of 16 bytes at a time
    assert data.sizes == [1, 1, 1]  # one sample to learn sizes; two tensors; the third alone
    assert [measured.histograms[name].total for name in TENSORS] == [ARRAY.size] * 3
    assert measured.histograms["double"].zeros == 0
    assert measured.samples == 10


@pytest.mark.parametrize("histograms", [(), ("square",)])
@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (3e30, "infinity")])
def test_unusable_values_name_tensor_and_samples(histograms, value, what, monkeypatch):
    monkeypatch.setitem(
        TENSORS,
        "square",
        lambda x: (
            np.where(np.abs(x) > 1e20, np.float32(np.inf), x * 0 + 1)
            if what == "infinity"
            else np.where(np.isnan(x), x, 1.0)
        ),
    )
    broken = ARRAY.copy()
    broken[6, 1] = value
    with np.errstate(over="ignore"), pytest.raises(UsageError) as caught:
        collect(Data(broken), observe, ["square"], [], list(histograms), batch=4, seed=0, emit=ignore)
    assert f"tensor 'square' holds {what} for sample 6" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_values_that_are_not_finite_are_left_out_where_they_may_be(value, what, monkeypatch):
    monkeypatch.setitem(TENSORS, "square", lambda x: np.where(x == ARRAY[5, 1], np.float32(value), x))
    settings = {"batch": 4, "seed": 0, "emit": ignore}
    lenient = {"square": frozenset({what})}
    measured = collect(Data(ARRAY), observe, ["square", "double"], [], [], lenient=lenient, **settings)
    assert measured.amax["square"] == np.abs(ARRAY[ARRAY[5, 1] != ARRAY]).max()
    assert measured.unbounded == {"square": what}
    other = {"square": frozenset({"NaN", "infinity"} - {what})}
    with pytest.raises(UsageError, match=f"'square' holds {what} for sample 5"):
        collect(Data(ARRAY), observe, ["square"], [], [], lenient=other, **settings)


def test_a_tensor_without_any_finite_value_has_a_range_of_zero(monkeypatch):
    monkeypatch.setitem(TENSORS, "square", lambda x: np.full_like(x, -np.inf))
    lenient = {"square": frozenset({"infinity"})}
    measured = collect(Data(ARRAY), observe, ["square"], [], [], lenient=lenient, batch=4, seed=0, emit=ignore)
    assert measured.amax == {"square": 0.0}


def test_large_tensors_are_selected_from_evenly_and_their_amax_is_exact(monkeypatch):
    monkeypatch.setattr(module, "VALUES", 1000)
    monkeypatch.setattr(module, "PER_SAMPLE", 100)
    wide = np.random.default_rng(2).normal(size=(10, 12 * 700)).astype(np.float32)
    wide[3, 1] = 40  # not among those selected
    one, many = (measure(Data(wide), ["x"], batch=size) for size in (1, 10))
    np.testing.assert_array_equal(one.histograms["x"].counts, many.histograms["x"].counts)
    assert one.amax["x"] == one.histograms["x"].amax == 40
    assert 1000 <= one.histograms["x"].total <= 1200
    centres = (np.arange(len(one.histograms["x"].used)) + 0.5) * one.histograms["x"].width
    mean = (one.histograms["x"].used * centres).sum() / one.histograms["x"].total
    assert mean == pytest.approx(np.abs(wide).mean(), rel=0.1)


@pytest.mark.parametrize(("size", "quota"), [(64 * 112 * 112, 16384), (2048 * 49, 16384), (1000, 16384), (2**20, 1000)])
def test_the_stride_through_a_tensor_meets_every_row_and_channel(size, quota):
    stride = module._stride(size, quota)
    assert math.gcd(stride, size) == 1
    assert size / stride >= min(quota, size)
    assert size / stride <= 2.1 * quota

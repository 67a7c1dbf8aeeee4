import numpy as np
import pytest

from trtconv.calibration.histogram import Histogram
from trtconv.calibration.methods import METHODS, entropy, minmax, mse, percentile


def histogram_of(values):
    histogram = Histogram()
    histogram.add(values.astype(np.float32), float(np.abs(values.astype(np.float32)).max()))
    return histogram


def rounding_error(values, threshold):
    """Mean squared error of symmetric INT8 on the values themselves."""
    step = threshold / 127
    return float(np.square(values - np.clip(np.rint(values / step), -127, 127) * step).mean())


RANDOM = np.random.default_rng(5)
SAMPLES = {
    "gaussian": RANDOM.normal(size=300_000),
    "laplace": RANDOM.laplace(size=300_000),
    "uniform": RANDOM.uniform(-1, 1, 300_000),
    "relu": np.maximum(RANDOM.normal(size=300_000), 0),
    "heavy tails": RANDOM.standard_t(4, size=300_000),
    "sparse": RANDOM.normal(size=300_000) * (RANDOM.uniform(size=300_000) < 0.02),
}


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES.keys())
def test_minmax_is_the_largest_magnitude(values):
    assert minmax(histogram_of(values)) == np.abs(values.astype(np.float32)).max()


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES.keys())
def test_percentile_is_numpys_on_all_values(values):
    histogram = histogram_of(values)
    ordered = np.sort(np.abs(values.astype(np.float32)))
    rank = int(np.ceil(len(values) * 0.99999))  # the value that 99.999 per cent do not exceed
    assert abs(percentile(histogram) - ordered[rank - 1]) <= 1.01 * histogram.width


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES.keys())
def test_mse_is_as_good_as_the_best_threshold_on_all_values(values):
    chosen = rounding_error(values, mse(histogram_of(values)))
    best = min(rounding_error(values, np.abs(values).max() * step / 128) for step in range(1, 129))
    assert chosen <= 1.01 * best


def documented_entropy(values):
    """TensorRT's published algorithm, written out bin by bin, on a histogram of 2048 bins."""
    magnitudes = np.abs(values)
    top = magnitudes.max()
    bins = np.histogram(magnitudes, 2048, (0, top))[0].astype(float)
    divergence = {}
    for cut in range(128, 2049, 16):
        reference = bins[:cut].copy()
        reference[-1] += bins[cut:].sum()
        candidate = np.zeros(cut)
        for level in range(128):
            inside = np.arange(level * cut // 128, (level + 1) * cut // 128)
            filled = inside[bins[inside] > 0]
            if len(filled):
                candidate[filled] = bins[inside].sum() / len(filled)
        p, q = reference / reference.sum(), candidate / candidate.sum()
        shown = p > 0
        divergence[cut] = np.inf if (q[shown] == 0).any() else (p[shown] * np.log(p[shown] / q[shown])).sum()
    return (min(divergence, key=divergence.get) + 0.5) * top / 2048


@pytest.mark.parametrize("name", ["gaussian", "laplace", "uniform"])
def test_entropy_is_the_published_algorithm_where_bins_are_full(name):
    ours, published = entropy(histogram_of(SAMPLES[name])), documented_entropy(SAMPLES[name])
    assert ours == pytest.approx(published, rel=0.2)  # the minimum is flat, and bins lie differently


@pytest.mark.parametrize("name", SAMPLES)
def test_entropy_does_not_clip_for_the_sake_of_zeros(name):
    """Within 2 dB of no clipping at all, or better: careless searches lose 4 to 9 dB on ReLU outputs."""
    values = SAMPLES[name]
    assert rounding_error(values, entropy(histogram_of(values))) <= 1.6 * rounding_error(values, np.abs(values).max())


def test_zeros_move_no_threshold_of_entropy():
    values = SAMPLES["gaussian"]
    padded = np.concatenate([values, np.zeros(3_000_000)])
    assert entropy(histogram_of(padded)) == entropy(histogram_of(values))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_thresholds_scale_with_the_values_and_never_exceed_the_largest(method):
    values = RANDOM.normal(size=2000)
    small, large = method(histogram_of(values)), method(histogram_of(values * 1024))
    assert large == pytest.approx(1024 * small, rel=1e-6)
    assert 0 < small <= minmax(histogram_of(values))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_a_tensor_of_zeros_has_no_range(method):
    assert method(histogram_of(np.zeros(10))) == 0.0


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_few_values_are_not_clipped_much(method):
    assert method(histogram_of(np.float32([1.0, 2.0, 3.0]))) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "uniform", "heavy tails"])
def test_entropy_agrees_with_onnxruntimes_search_given_enough_bins(name):
    """Its calibrator stops at 128 bins, where its entropy is minmax; the function itself takes any number."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    values = SAMPLES[name].astype(np.float32)
    peak = float(np.abs(values).max())
    counts, edges = np.histogram(values, 2049, (-peak, peak))
    search = HistogramCollector("entropy", True, 2049, 255, 99.99, "same")
    theirs = float(search.get_entropy_threshold((counts, edges, -peak, peak, peak), 255)[1])
    ours = entropy(histogram_of(values))
    assert ours == pytest.approx(theirs, rel=0.25)
    ratio = rounding_error(values, ours) / rounding_error(values, theirs)
    assert abs(10 * np.log10(ratio)) < 1.0

"""Samples from a function of the user's: what it may return, and what is said when it does something else."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests import networks
from trtconv.calibration import cache as caches
from trtconv.core.errors import UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.feeds import open_feed
from trtconv.stages.calibrate import CalibrateRequest, calibrate

X = TensorInfo("x", "float", ("n", 3))
IDS = TensorInfo("ids", "int64", ("n",))
MODULE = """
import numpy as np
def one(): return np.arange(12.0).reshape(4, 3)
def both(): return {"x": np.ones((4, 3), np.float32), "ids": [0, 1, 2, 3]}
def wide(): return np.ones((4, 5))
def ragged(): return np.array([np.ones(2), np.ones(3)], object)
def failing(): raise KeyError("gone")
def infinite(): return np.array([[1.0, 2.0, np.inf]])
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "given_samples.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "given_samples", raising=False)


def spec(name, **options):
    return FeedSpec(call=f"given_samples:{name}", allow_code=True, **options)


def test_an_array_is_the_only_input():
    feed = open_feed(spec("one", samples=3), (X,))
    batches = list(feed.batches(2))
    assert [batch["x"].dtype for batch in batches] == [np.float32] * 2
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), np.arange(9).reshape(3, 3))


def test_arrays_by_input():
    (batch,) = open_feed(spec("both"), (X, IDS)).batches(10)
    np.testing.assert_array_equal(batch["ids"], [0, 1, 2, 3])
    assert batch["x"].shape == (4, 3)


def test_the_digest_is_that_of_the_values():
    assert open_feed(spec("one"), (X,)).digest() == open_feed(spec("one"), (X,)).digest()
    other = TensorInfo("x", "float", ("n", 5))
    assert open_feed(spec("wide"), (other,)).digest() != open_feed(spec("one"), (X,)).digest()


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("one", (X, IDS), "returned one array, but the model has the inputs x, ids"),
        ("both", (TensorInfo("y", "float", ("n", 3)),), "returned no samples for input 'y'; it has x, ids"),
        ("wide", (X,), r"given_samples:wide: array 'x': shape \[4, 5\] does not fit"),
        ("ragged", (X,), "returned Python objects"),
        ("failing", (X,), "raised KeyError"),
        ("absent", (X,), "cannot be imported"),
    ],
)
def test_what_does_not_fit_is_named(name, inputs, message):
    with pytest.raises(UsageError, match=message) as caught:
        open_feed(spec(name), inputs)
    assert caught.value.hint


def test_values_are_checked_as_those_of_files():
    with pytest.raises(UsageError, match="sample 0 of input 'x' holds NaN, infinity"):
        list(open_feed(spec("infinite"), (X,)).batches(1))


def test_nothing_is_called_without_leave():
    with pytest.raises(UsageError, match="runs only by your leave") as caught:
        open_feed(FeedSpec(call="given_samples:failing"), (X,))
    assert "--allow-code" in caught.value.hint


def test_a_function_calibrates_as_its_samples_in_a_file_do(tmp_path, monkeypatch):
    (tmp_path / "given_images.py").write_text("from tests import networks\ndef images(): return networks.images(12)\n")
    monkeypatch.syspath_prepend(tmp_path)
    onnx.save(networks.residual_cnn(), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", networks.images(12))
    feeds = {"called": FeedSpec(call="given_images:images", allow_code=True), "file": FeedSpec(tmp_path / "x.npy")}
    for name, feed in feeds.items():
        calibrate(CalibrateRequest(tmp_path / "m.onnx", feed, tmp_path / f"{name}.cache"), ignore)
    assert caches.read(tmp_path / "called.cache").amax == caches.read(tmp_path / "file.cache").amax


def test_a_job_calls_it(tmp_path):
    """And calls it again when the module changes, but not otherwise."""
    onnx.save(networks.residual_cnn(), tmp_path / "m.onnx")
    code = "import numpy as np\ndef images():\n    return np.random.default_rng({}).uniform(size=(8, 8, 8, 1))\n"
    (tmp_path / "given_images.py").write_text(code.format(0))
    job = "version: 1\nsource: {path: m.onnx}\nprecision: [int8]\ncalibrate: {call: 'given_images:images'}\n"
    (tmp_path / "j.yaml").write_text(job)

    def trtconv(*words):
        return subprocess.run(
            [sys.executable, "-m", "trtconv", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    refused = trtconv("lower", "j.yaml")
    assert refused.returncode == 2
    assert "--allow-code" in refused.stderr
    first = trtconv("lower", "j.yaml", "--allow-code")
    assert first.returncode == 0, first.stderr
    cache = tmp_path / "build" / "j" / "j.cache"
    written = cache.read_text()
    assert trtconv("lower", "j.yaml", "--allow-code").returncode == 0
    (tmp_path / "given_images.py").write_text(code.format(1))
    assert trtconv("lower", "j.yaml", "--allow-code").returncode == 0
    assert cache.read_text() != written

import json
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.networks import decibels, everything, images, magnitudes, model, node, residual_cnn, run, value
from trtconv.calibration import cache as caches
from trtconv.calibration import collect
from trtconv.core import digests
from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.events import Message, ignore
from trtconv.core.records import FeedSpec
from trtconv.graph import observe, placement, strict
from trtconv.stages.calibrate import CalibrateRequest, calibrate
from trtconv.stages.lower import LowerRequest, lower


@pytest.fixture
def folder(tmp_path):
    onnx.save(residual_cnn(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", image=images(25))
    return tmp_path


def request(folder, method="minmax", data=None, **options):
    return CalibrateRequest(
        folder / "m.onnx", data or FeedSpec(folder / "x.npz"), folder / f"{method}.cache", method, **options
    )


def test_ranges_are_those_of_onnxruntime_on_all_samples_at_once(folder):
    events = []
    result = calibrate(request(folder, batch=4), events.append)
    wanted = magnitudes(residual_cnn(), {"image": images(25)})
    cache = caches.read(folder / "minmax.cache")
    assert (cache.version, cache.algorithm) == (101600, "MinMaxCalibration")
    assert {"image", "nchw", "stem_relu", "block1_skip", "flat", "logits"} <= set(cache.amax)
    assert "stem" not in cache.amax  # only a ReLU reads it
    for name, amax in cache.amax.items():
        assert amax == pytest.approx(wanted[name], rel=1e-5)
    assert (result.samples, result.tensors, result.method) == (25, len(cache.amax), "minmax")
    assert events


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_an_even_selection_of_many_values_gives_nearly_the_same(folder, method, monkeypatch):
    from trtconv.calibration import collect

    calibrate(request(folder, method), ignore)
    every = caches.read(folder / f"{method}.cache").amax
    monkeypatch.setattr(collect, "PER_SAMPLE", 200)  # a fifth of a feature map of the first block
    monkeypatch.setattr(collect, "VALUES", 1)
    calibrate(request(folder, method), ignore)
    some, largest = caches.read(folder / f"{method}.cache").amax, caches.read_facts(folder / f"{method}.cache").amax
    wanted = magnitudes(residual_cnn(), {"image": images(25)})
    assert some.keys() == every.keys()
    for name, amax in some.items():
        assert largest[name] == pytest.approx(wanted[name], rel=1e-5)  # those are always of every value
        assert amax == pytest.approx(every[name], rel=1e-5 if method == "minmax" else 0.2)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_of_many_samples_a_selection_of_values_is_handed_out(folder, method, monkeypatch):
    from trtconv.calibration import collect

    calibrate(request(folder, method), ignore)
    every, largest = caches.read(folder / f"{method}.cache").amax, caches.read_facts(folder / f"{method}.cache").amax
    monkeypatch.setattr(collect, "PER_SAMPLE", 200)
    monkeypatch.setattr(collect, "VALUES", 1)
    monkeypatch.setattr(collect, "SURVEY", 5)
    calibrate(request(folder, method, batch=5), ignore)
    some, seen = caches.read(folder / f"{method}.cache").amax, caches.read_facts(folder / f"{method}.cache").amax
    needed = {name for kind in ("int8", "fp8") for name in placement.plan(onnx.load(folder / "m.onnx"), kind).tensors}
    assert some.keys() == every.keys()
    for name in needed:  # the percentile of some thousand values is their largest, and chance
        assert some[name] == pytest.approx(every[name], rel={"minmax": 1e-5, "mse": 0.2, "percentile": 0.3}[method])
        assert 0.7 * largest[name] <= seen[name] <= largest[name] * (1 + 1e-5)
    few = [name for name in needed if seen[name] < largest[name] * (1 - 1e-5)]
    assert bool(few) == (method != "minmax")  # minmax sees every value; the others need not


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_what_quantization_needs_is_measured_on_all_samples(folder, method, monkeypatch):
    from trtconv.calibration import collect

    calibrate(request(folder, method), ignore)
    every, model = caches.read(folder / f"{method}.cache").amax, onnx.load(folder / "m.onnx")
    monkeypatch.setattr(collect, "PER_SAMPLE", 1)
    monkeypatch.setattr(collect, "VALUES", 2**30)
    monkeypatch.setattr(collect, "SURVEY", 1)
    calibrate(request(folder, method, batch=5), ignore)
    some = caches.read(folder / f"{method}.cache").amax
    needed = {name for kind in ("int8", "fp8") for name in placement.plan(model, kind).tensors}
    assert some.keys() == every.keys()
    assert needed < every.keys()
    for name in needed:
        assert some[name] == pytest.approx(every[name], rel=1e-5)
    first = magnitudes(residual_cnn(), {"image": images(25)[:5]})
    for name in every.keys() - needed:
        assert first[name] * (1 - 1e-5) <= some[name] <= every[name] * (1 + 1e-5)


def test_models_that_are_opened_at_once_do_not_mix(folder, monkeypatch):
    """Each is the same model with outputs of its own for the time of its making."""
    made, under_way, observed = [], [], observe.observed

    def slow(network, *arguments):
        under_way.append(1)
        assert len(under_way) == 1
        time.sleep(0.1)
        made.append(len(onnx.ModelProto.FromString(observed(network, *arguments)).graph.output))
        time.sleep(0.1)
        under_way.clear()
        return observed(network, *arguments)

    np.savez(folder / "x.npz", image=images(48))
    monkeypatch.setattr(observe, "observed", slow)
    calibrate(request(folder), ignore)
    assert len(made) == len(set(made)) == 2


def test_the_sidecar_says_where_the_ranges_come_from(folder):
    calibrate(request(folder, "mse", batch=4, seed=7), ignore)
    facts = caches.read_facts(folder / "mse.cache")
    assert facts.model == digests.of_file(folder / "m.onnx")
    assert (facts.method, facts.samples, facts.batch, facts.seed) == ("mse", 25, 4, 7)
    wanted = magnitudes(residual_cnn(), {"image": images(25)})
    assert facts.amax["block0_sum_relu"] == pytest.approx(wanted["block0_sum_relu"], rel=1e-5)
    assert json.loads((folder / "mse.cache.json").read_text())["format"] == 1


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
def test_methods_clip_what_they_should_and_batches_do_not_matter(folder, method):
    calibrate(request(folder, method, batch=10), ignore)
    cache, facts = caches.read(folder / f"{method}.cache"), caches.read_facts(folder / f"{method}.cache")
    assert cache.algorithm == "EntropyCalibration2"
    assert all(amax <= facts.amax[name] * (1 + 1e-6) for name, amax in cache.amax.items())
    if method == "percentile":
        values = np.abs(everything(residual_cnn(), {"image": images(25)})["block0_sum_relu"]).ravel()
        rank = int(np.ceil(len(values) * 0.99999))
        assert cache.amax["block0_sum_relu"] == pytest.approx(np.sort(values)[rank - 1], rel=2e-3)
    calibrate(request(folder, method, batch=25), ignore)
    assert caches.read(folder / f"{method}.cache").amax == pytest.approx(cache.amax, rel=1e-5)


def test_the_same_call_gives_the_same_bytes(folder):
    texts = set()
    for _ in range(2):
        calibrate(request(folder, "entropy"), ignore)
        texts.add((folder / "entropy.cache").read_bytes() + (folder / "entropy.cache.json").read_bytes())
    assert len(texts) == 1


def test_a_model_with_a_fixed_batch(folder):
    network = residual_cnn()
    for one in (*network.graph.input, *network.graph.output):
        one.type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(network, folder / "m.onnx")
    assert calibrate(request(folder), ignore).samples == 25


@pytest.mark.parametrize("memory", [collect.MEMORY, 1])
def test_inputs_that_hold_no_samples_go_whole_into_every_part_of_a_batch(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(collect, "MEMORY", memory)
    network = model(
        [node("Reshape", "x shape", "r"), node("Mul", "r k", "y")],
        [value("x", ["n", 12]), value("shape", [3], TensorProto.INT64), value("k", [])],
        [value("y", [None, None, None])],
    )
    onnx.save(network, tmp_path / "m.onnx")
    x = images(6).reshape(6, -1)[:, :12]
    np.savez(tmp_path / "x.npz", x=x, shape=np.int64([-1, 3, 4]), k=np.float32(-5))
    calibrate(CalibrateRequest(tmp_path / "m.onnx", FeedSpec(tmp_path / "x.npz"), tmp_path / "c", batch=4), ignore)
    amax = caches.read_facts(tmp_path / "c").amax
    assert amax == pytest.approx({"x": np.abs(x).max(), "k": 5, "r": np.abs(x).max(), "y": 5 * np.abs(x).max()})


def test_fewer_samples_than_asked_for(folder):
    with pytest.raises(UsageError, match="100 samples asked for, but there are only 25"):
        calibrate(request(folder, data=FeedSpec(folder / "x.npz", samples=100)), ignore)
    assert calibrate(request(folder, data=FeedSpec(folder / "x.npz", samples=9)), ignore).samples == 9
    assert caches.read_facts(folder / "minmax.cache").samples == 9


def test_an_unknown_method(folder):
    with pytest.raises(UsageError, match="'entropi'") as caught:
        calibrate(request(folder, "entropi"), ignore)
    assert caught.value.hint == "did you mean 'entropy'?"


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_a_model_that_overflows_names_tensor_and_samples(folder, method):
    network = model(
        [node("Exp", "x", "grown"), node("MatMul", "grown w", "y")],
        [value("x", ["n", 16])],
        [value("y", ["n", 16])],
        {"w": np.eye(16, dtype=np.float32)},
    )
    onnx.save(network, folder / "m.onnx")
    data = np.zeros((25, 16), np.float32)
    data[13] = 100
    np.savez(folder / "x.npz", x=data)
    with pytest.raises(UsageError, match="tensor 'grown' holds infinity for sample 13"):
        calibrate(request(folder, method), ignore)
    assert not (folder / f"{method}.cache").exists()


def test_not_a_number_inside_the_model_is_found(folder):
    network = model(
        [node("Sqrt", "x", "root"), node("Max", "root zero", "y")],
        [value("x", ["n", 64])],
        [value("y", ["n", 64])],
        {"zero": np.float32(0)},
    )
    onnx.save(network, folder / "m.onnx")
    data = np.ones((25, 64), np.float32)
    data[21, 60] = -1
    np.savez(folder / "x.npz", x=data)
    with pytest.raises(UsageError, match="tensor 'y' holds NaN for sample 21"):
        calibrate(request(folder), ignore)


def silent(*nodes, **constants):
    """A network of ``x`` [n, 32], whose sample 5 is zero, between two matrix products; the first makes ``a``."""
    random = np.random.default_rng(0)
    weights = {name: (random.normal(size=(32, 32)) / 6).astype(np.float32) for name in ("w", "v")}
    nodes = [node("MatMul", "x w", "a"), *nodes, node("MatMul", "last v", "y")]
    network = model(nodes, [value("x", ["n", 32])], [value("y", ["n", 32])], {**weights, **constants}, opset=18)
    x = random.normal(size=(16, 32)).astype(np.float32)
    x[5] = 0
    return network, x


def silences():
    zero = np.float32(0)
    logarithm = [node("Mul", "a a", "p"), node("Log", "p", "l"), node("Max", "l floor", "last")]
    quotient = [
        node("ReduceSum", "a axis", "s"),
        node("Div", "a s", "d"),
        node("Equal", "s zero", "e"),
        node("Where", "e zero d", "last"),
    ]
    inverse = [
        node("ReduceL2", "a axis", "n"),
        node("Reciprocal", "n", "r"),
        node("Min", "r most", "q"),
        node("Mul", "a q", "last"),
    ]
    relative = [
        node("ReduceMax", "a axis", "m"),
        node("Div", "a m", "d"),
        node("IsNaN", "d", "bad"),
        node("Where", "bad zero d", "last"),
    ]
    axis = np.int64([1])
    return {
        "logarithm": (silent(*logarithm, floor=np.float32(-10)), {"l"}),
        "quotient": (silent(*quotient, axis=axis, zero=zero), {"d"}),
        "inverse": (silent(*inverse, axis=axis, most=np.float32(100)), {"r"}),
        "relative": (silent(*relative, axis=axis, zero=zero), {"d"}),
    }


@pytest.mark.parametrize("name", silences())
def test_values_that_something_replaces_stand_in_no_range(folder, name):
    """log(0) and 0 / 0 inside of a network whose outputs are right, for silence; lowered, they stay right."""
    (network, x), broken = silences()[name]
    onnx.save(network, folder / "m.onnx")
    np.savez(folder / "x.npz", x=x)
    events = []
    calibrate(request(folder), events.append)
    told = [event.text for event in events if isinstance(event, Message) and "left out of ranges" in event.text]
    assert all(f"{tensor!r}" in told[0] for tensor in broken)
    amax = caches.read_facts(folder / "minmax.cache").amax
    assert broken < set(amax)
    assert all(np.isfinite(found) for found in amax.values())
    for precision, least in (("fp16", 45), ("int8", 20)):
        cache = folder / "minmax.cache"
        lower(LowerRequest(folder / "m.onnx", folder / "t.onnx", precision, cache), ignore)
        (found,) = strict.run(onnx.load(folder / "t.onnx"), {"x": x}).values()
        assert decibels(run(network, {"x": x})["y"], found) > least


def test_an_infinity_that_a_quantized_operator_reads_is_an_error(folder):
    network, x = silent(node("Mul", "a a", "p"), node("Log", "p", "last"))
    onnx.save(network, folder / "m.onnx")
    np.savez(folder / "x.npz", x=x)
    with pytest.raises(UsageError, match="tensor 'last' holds infinity for sample 5"):
        calibrate(request(folder), ignore)


def test_a_mask_of_infinities_may_be_an_input(folder):
    nodes = [node("Add", "x mask", "hidden"), node("Softmax", "hidden", "p"), node("Mul", "p x", "y")]
    inputs = [value("x", ["n", 4]), value("mask", ["n", 4])]
    onnx.save(model(nodes, inputs, [value("y", ["n", 4])], {}), folder / "m.onnx")
    mask = np.where(np.eye(4, dtype=bool), np.float32(-np.inf), np.float32(0))[np.arange(25) % 4]
    np.savez(folder / "x.npz", x=images(25)[:, 0, :4, 0], mask=mask)
    calibrate(request(folder), ignore)
    assert caches.read(folder / "minmax.cache").amax["mask"] == 0


def test_masks_of_infinity_are_no_overflow(folder):
    nodes = [node("Where", "keep x lowest", "hidden"), node("Softmax", "hidden", "p"), node("Mul", "p x", "y")]
    network = model(
        nodes,
        [value("x", ["n", 4]), value("keep", ["n", 4], TensorProto.BOOL)],
        [value("y", ["n", 4])],
        {"lowest": np.float32(-np.inf)},
    )
    onnx.save(network, folder / "m.onnx")
    np.savez(folder / "x.npz", x=images(25)[:, 0, :4, 0], keep=np.eye(4, dtype=bool)[np.arange(25) % 4])
    calibrate(request(folder), ignore)
    assert set(caches.read(folder / "minmax.cache").amax) == {"x", "p", "y"}


def test_a_typed_model_is_refused(folder):
    half = model(
        [node("Relu", "x", "y")], [value("x", [3], TensorProto.FLOAT16)], [value("y", [3], TensorProto.FLOAT16)]
    )
    onnx.save(half, folder / "m.onnx")
    with pytest.raises(ConversionError, match="'x' is float16") as caught:
        calibrate(request(folder), ignore)
    assert "typed" in caught.value.hint


def test_the_model_runs_unchanged(folder):
    """Watching tensors must not alter what the network computes: logits in the cache are the network's."""
    calibrate(request(folder), ignore)
    logits = run(residual_cnn(), {"image": images(25)})["logits"]
    assert caches.read(folder / "minmax.cache").amax["logits"] == pytest.approx(np.abs(logits).max(), rel=1e-5)


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("size", [1, 2, 10])
def test_recurrent_states_have_their_batch_on_another_axis(folder, batch, size):
    """Ranges are those of the samples one by one, however they are cut into batches."""
    random = np.random.default_rng(0)
    nodes = [node("Gather", "state i", "s", axis=0), node("Add", "x s", "h"), node("MatMul", "h w", "y")]
    weights = {"w": random.normal(size=(16, 16)).astype(np.float32), "i": np.array(1, np.int64)}
    inputs = [value("x", [batch, 16]), value("state", [2, batch, 16])]
    network = model(nodes, inputs, [value("y", None)], {}, check=False)
    network.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.save(network, folder / "m.onnx")
    x, state = random.normal(size=(4, 16)).astype(np.float32), random.normal(size=(2, 4, 16)).astype(np.float32)
    np.savez(folder / "x.npz", x=x, state=state)
    data = FeedSpec(folder / "x.npz", batch_axes={"state": 1} if batch == 1 else {})
    calibrate(request(folder, "entropy", data, batch=size), ignore)
    amax = caches.read_facts(folder / "entropy.cache").amax
    assert amax["h"] == pytest.approx(np.abs(x + state[1]).max())
    assert amax["state"] == np.abs(state).max()

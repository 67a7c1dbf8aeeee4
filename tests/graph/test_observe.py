"""What stands for a tensor tells the same of it as its values."""

import numpy as np
import pytest
from onnx import helper

from tests.networks import everything, images, model, node, residual_cnn, run, value
from trtconv.graph import observe


@pytest.fixture
def network():
    return residual_cnn()


def test_probes_give_peaks_and_a_lattice_of_the_values(network):
    tensors = observe.activations(network)
    probing = observe.probes(network, tensors, ["block0_sum_relu", "block1_sum_relu", "image"], quota=128)
    before = network.SerializeToString()
    made = type(network).FromString(observe.observed(network, tensors[1:], probing))
    assert network.SerializeToString() == before
    feeds = {"image": images(3)}
    whole, got = everything(network, feeds), run(made, feeds)
    assert {"stem_relu", "block0_first_relu", "block0_sum_relu", "block1_sum_relu"} <= set(probing)
    for name, probe in probing.items():
        np.testing.assert_allclose(got[probe.peak].max(axis=(2, 3)), whole[name].max(axis=(2, 3)), rtol=1e-5)
        assert name not in got
    first = probing["block0_sum_relu"]  # 16 maps of 8x8, so 8 times the quota
    assert first.stride == 2
    np.testing.assert_allclose(got[first.sample], whole["block0_sum_relu"][:, :, ::2, ::2], rtol=1e-5, atol=1e-6)
    assert probing["stem_relu"].sample == ""
    for name in set(tensors[1:]) - set(probing):
        np.testing.assert_allclose(got[name], whole[name], rtol=1e-5, atol=1e-6)


def test_only_maps_that_cannot_be_negative_are_probed(network):
    names = [one.output[0] for one in network.graph.node]
    probed = set(observe.probes(network, names, [], quota=1))
    whole = everything(network, {"image": images(3)})
    assert probed
    assert all(whole[name].min() >= 0 and whole[name].ndim == 4 for name in probed)
    assert not probed & {"stem", "block0_second", "block1_skip", "block0_sum"}


def test_tensors_with_the_same_values_are_measured_once(network):
    tensors = observe.activations(network)
    origins = observe.origins(network, tensors)
    assert {name: origin for name, origin in origins.items() if origin != name} == {"nchw": "image", "flat": "pooled"}
    assert list(origins) == tensors
    assert observe.origins(network, ["flat", "logits"]) == {"flat": "flat", "logits": "logits"}


def test_tensors_of_few_values_are_handed_out(network):
    assert observe.probes(network, ["stem_relu"], ["stem_relu"], quota=1024) == {}


def test_names_of_the_model_are_not_taken_twice():
    nodes = [node("Relu", "x", "a"), helper.make_node("Neg", ["a"], ["a/peak"], "n")]
    taken = model(nodes, [value("x", ["n", 4, 6, 6])], [value("a/peak", ["n", 4, 6, 6])], {})
    probing = observe.probes(taken, ["a"], [], quota=1)
    assert probing["a"].peak != "a/peak"
    made = type(taken).FromString(observe.observed(taken, ["a"], probing))
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(made, {"x": x})[probing["a"].peak].reshape(2, 4), np.maximum(x, 0).max((2, 3)))

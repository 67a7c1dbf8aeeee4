"""What stands for a tensor tells the same of it as its values."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper

from tests.networks import everything, images, model, node, residual_cnn, run, value
from trtconv.graph import observe


@pytest.fixture
def network():
    made = residual_cnn()
    observe.declare(made)
    return made


def probed(network, tensors, sampled, quota):
    """Names whose ranges or values poolings tell, of all that are measured."""
    return {name for name, probe in observe.probes(network, tensors, sampled, quota).items() if not probe.whole}


def test_every_dimension_of_a_declared_model_has_a_value_or_a_name():
    made = model(
        [node("Relu", "x", "a"), node("Reshape", "a shape", "b"), node("Relu", "b", "y")],
        [value("x", ["n", 4, 6])],
        [value("y", [None, 12])],
        {"shape": np.int64([-1, 12])},
    )
    made.graph.value_info.append(value("b", [None, 12]))
    observe.declare(made)
    shapes = {v.name: v.type.tensor_type.shape.dim for v in made.graph.value_info}
    assert [(dim.dim_value, dim.dim_param) for dim in shapes["a"]] == [(0, "n"), (4, ""), (6, "")]
    assert [dim.dim_value for dim in shapes["b"]] == [0, 12]
    assert shapes["b"][0].dim_param


def test_probes_give_peaks_and_a_lattice_of_the_values(network):
    tensors = observe.activations(network)
    probing = observe.probes(network, tensors, ["block0_sum_relu", "block1_sum_relu", "image"], quota=128)
    before = network.SerializeToString()
    made = type(network).FromString(observe.observed(network, tensors[1:], probing))
    assert network.SerializeToString() == before
    feeds = {"image": images(3)}
    whole, got = everything(network, feeds), run(made, feeds)
    pooled = [name for name in tensors[1:] if not probing[name].whole]
    assert {"stem_relu", "block0_first_relu", "block0_sum_relu", "block1_sum_relu"} <= set(pooled)
    for name in pooled:
        np.testing.assert_allclose(got[probing[name].peak][0], whole[name].max(axis=(2, 3)).ravel(), rtol=1e-5)
    first = probing["block0_sum_relu"]  # 16 maps of 8x8, so 8 times the quota
    assert first.stride == 2
    lattice = whole["block0_sum_relu"][:, :, ::2, ::2]
    np.testing.assert_allclose(got[first.sample][0], lattice.ravel(), rtol=1e-5, atol=1e-6)
    assert probing["stem_relu"].sample == ""
    for name in set(tensors[1:]) - set(pooled):
        np.testing.assert_allclose(got[probing[name].whole][0], whole[name].ravel(), rtol=1e-5, atol=1e-6)


def test_only_maps_that_cannot_be_negative_have_peaks(network):
    names = [one.output[0] for one in network.graph.node]
    found = probed(network, names, [], quota=1)
    whole = everything(network, {"image": images(3)})
    assert found
    assert all(whole[name].min() >= 0 and whole[name].ndim == 4 for name in found)
    assert not found & {"stem", "block0_second", "block1_skip", "block0_sum"}


def test_selections_take_values_of_any_sign_and_leave_small_tensors_out(network):
    names = [one.output[0] for one in network.graph.node]
    probing = observe.selections(network, names, quota=128)
    assert {"block1_skip", "block0_sum_relu"} <= set(probing)
    assert not {"logits", "pooled", "flat"} & set(probing)
    feeds = {"image": images(3)}
    whole = everything(network, feeds)
    got = run(type(network).FromString(observe.observed(network, list(probing), probing)), feeds)
    assert (whole["block1_skip"] < 0).any()
    for name, probe in probing.items():
        lattice = whole[name][:, :, :: probe.stride, :: probe.stride]
        np.testing.assert_allclose(got[probe.sample][0], lattice.ravel(), rtol=1e-5, atol=1e-5)
        assert 128 <= lattice[0].size < whole[name][0].size


def test_probes_run_as_soon_as_their_tensors_are_there(network, tmp_path):
    """One that waits for the end of the network keeps its tensor alive, which costs memory and time."""
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "p")
    tensors = observe.activations(network)[1:]
    probing = observe.probes(network, tensors, [], quota=1)
    session = ort.InferenceSession(observe.observed(network, tensors, probing), options, ["CPUExecutionProvider"])
    session.run(None, {"image": images(3)})
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event["name"].partition("_kernel_time")[0] for event in events if event["name"].endswith("_kernel_time")]
    outputs = [name for name in tensors if (probing[name].peak or probing[name].whole) in ran]
    places = [ran.index(probing[name].peak or probing[name].whole) for name in outputs]
    assert len(outputs) > 8
    assert places == sorted(places)
    assert places[0] < len(ran) / 4


def test_tensors_with_the_same_values_are_measured_once(network):
    tensors = observe.activations(network)
    origins = observe.origins(network, tensors)
    assert {name: origin for name, origin in origins.items() if origin != name} == {"nchw": "image", "flat": "pooled"}
    assert list(origins) == tensors
    assert observe.origins(network, ["flat", "logits"]) == {"flat": "flat", "logits": "logits"}


def test_tensors_of_few_values_are_handed_out(network):
    assert probed(network, ["stem_relu"], ["stem_relu"], quota=1024) == set()


def test_names_of_the_model_are_not_taken_twice():
    nodes = [node("Relu", "x", "a"), helper.make_node("Neg", ["a"], ["a/peak"], "n")]
    taken = model(nodes, [value("x", ["n", 4, 6, 6])], [value("a/peak", ["n", 4, 6, 6])], {})
    observe.declare(taken)
    probing = observe.probes(taken, ["a"], [], quota=1)
    assert probing["a"].peak != "a/peak"
    made = type(taken).FromString(observe.observed(taken, ["a"], probing))
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(made, {"x": x})[probing["a"].peak].reshape(2, 4), np.maximum(x, 0).max((2, 3)))

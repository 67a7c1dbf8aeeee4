"""Types that ONNX Runtime's CPU knows badly, and outputs into buffers that are used again."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

from tests import networks
from tests.networks import model, node, value
from trtconv.adapters import onnxruntime
from trtconv.core.errors import NoKernel

FP8 = onnx.TensorProto.FLOAT8E4M3FN


def float8_before_transpose():
    """The optimizer moves this Transpose between Q and DQ, where it has no float8 kernel for it."""
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "dq"),
        node("Transpose", "dq", "turned", perm=[0, 2, 1]),
        node("MatMul", "turned w", "y"),
        node("Transpose", "y", "z", perm=[0, 2, 1]),
    ]
    constants = {
        "scale": np.float32(0.5),
        "zero": np.zeros((), ml_dtypes.float8_e4m3fn),
        "w": np.eye(4, dtype=np.float32),
    }
    return model(nodes, [value("x", ["n", 4, 3])], [value("z", ["n", 4, 3])], constants, opset=19)


def test_float8_runs_whatever_the_optimizer_makes_of_it():
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    got = onnxruntime.session(float8_before_transpose().SerializeToString()).run({"x": x})["z"]
    np.testing.assert_allclose(got, (x / 0.5).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * 0.5)


def test_a_type_without_kernels_can_only_be_built(tmp_path: Path):
    network = model(
        [node("Conv", "x w", "y", "first")],
        [value("x", [1, 1, 3, 3], onnx.TensorProto.BFLOAT16)],
        [value("y", [1, 1, 3, 3], onnx.TensorProto.BFLOAT16)],
        {"w": np.ones((1, 1, 1, 1), ml_dtypes.bfloat16)},
        opset=22,
    )
    onnx.save(network, tmp_path / "m.onnx")
    with pytest.raises(NoKernel, match=r"build only on a CPU: .* no kernel for Conv .*m\.onnx uses \(node 'first'\)"):
        onnxruntime.session(tmp_path / "m.onnx")


def test_reused_buffers_hold_what_a_plain_run_gives():
    network = networks.residual_cnn().SerializeToString()
    plain, reusing = onnxruntime.session(network), onnxruntime.session(network, sparing=True)
    made = []
    for start, size in ((0, 4), (1, 4), (2, 4), (3, 4), (4, 2), (5, 4)):
        feeds = {"image": networks.images(size, start)}
        wanted, got = plain.run(feeds), reusing.run_reusing(feeds)
        for name in wanted:
            np.testing.assert_array_equal(got[name], wanted[name])
        made.append(got["logits"])
    assert made[2] is made[0]  # two sets in turn: what was given before stays until the call after the next
    assert made[3] is made[1]
    assert len({id(array) for array in made}) == 4


def test_outputs_whose_shape_depends_on_values_are_not_reused():
    network = model([node("NonZero", "x", "y")], [value("x", ["n"])], [value("y", [1, "k"], onnx.TensorProto.INT64)])
    session = onnxruntime.session(network.SerializeToString())
    for values in ([1, 0, 1], [1, 1, 1], [0, 0, 2], [3, 0, 3]):
        x = np.float32(values)
        np.testing.assert_array_equal(session.run_reusing({"x": x})["y"][0], np.flatnonzero(x))

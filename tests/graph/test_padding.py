"""Pads in numbers: what ONNX Runtime computes with auto_pad, and what the definition says where it refuses to."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from trtconv.graph import check, padding

SIZES = "batch, 2, 9, 12"


def conv(options: str, sizes: str = SIZES) -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[{sizes}] x) => (float[batch, 3, h, w] y) {{ y = Conv<{options}>(x, k) }}"""
    model = parser.parse_model(text)
    kernel = np.random.default_rng(0).standard_normal((3, 2, 3, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(kernel, "k"))
    check.infer_shapes(model)
    return model


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("strides", [[1, 1], [2, 3], [4, 5]])
def test_the_same_numbers_as_with_auto_pad(mode: str, strides: list[int]) -> None:
    model = conv(f'auto_pad = "{mode}", strides = {strides}')
    x = np.random.default_rng(1).standard_normal((2, 2, 9, 12)).astype(np.float32)
    wanted = ReferenceEvaluator(model).run(None, {"x": x})[0]
    assert padding.say_pads(model)
    assert {item.name for item in model.graph.node[0].attribute} == {"pads", "strides"}
    np.testing.assert_allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], wanted, rtol=1e-5, atol=1e-5)
    assert not padding.say_pads(model)


def test_dilation_on_free_sizes_pads_by_what_the_kernel_reaches() -> None:
    model = conv('auto_pad = "SAME_UPPER", dilations = [3, 2]', "batch, 2, h, w")
    assert padding.say_pads(model)
    pads = {item.name: helper.get_attribute_value(item) for item in model.graph.node[0].attribute}["pads"]
    assert list(pads) == [3, 3, 3, 3]  # (3 - 1) * 3 and (4 - 1) * 2, halved


def test_what_depends_on_unknown_sizes_stays() -> None:
    assert not padding.say_pads(conv('auto_pad = "SAME_UPPER", strides = [2, 1]', "batch, 2, h, w"))

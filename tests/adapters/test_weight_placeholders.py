"""Stand-ins: equal arrays look equal, arrays come back as they were, and nobody takes a stand-in for its contents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trtconv.adapters.weight_placeholders import Held
from trtconv.core.weights import Weight

RANDOM = np.random.default_rng(0)


def test_arrays_come_back_in_their_type_and_shape(tmp_path: Path) -> None:
    arrays = [RANDOM.standard_normal((30, 50, 7)), RANDOM.integers(0, 9, (100, 33)).astype(np.int8)]
    arrays.append(arrays[0].astype(np.float32).transpose(2, 0, 1))  # not contiguous
    with Held(tmp_path) as held:
        tokens = [held.keep(array) for array in arrays]
        for token, array in zip(tokens, arrays, strict=True):
            np.testing.assert_array_equal(held.array(token, array.dtype, array.shape), array)
            tensor = held.stand_in(token, array.dtype, array.shape, "w")
            held.join(tensor)
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), array)
            onnx.checker.check_tensor(tensor)
    assert not list(tmp_path.iterdir())


def test_a_token_stands_for_contents(tmp_path: Path) -> None:
    array = RANDOM.standard_normal(5000).astype(np.float32)
    content = memoryview(array.tobytes())
    with Held(tmp_path) as held:
        assert held.refer(Weight(len(content), lambda: content)) == held.keep(array.reshape(50, 100))
        assert held.keep(array[::-1]) != held.keep(array)


def test_a_stand_in_cannot_be_read_as_a_tensor(tmp_path: Path) -> None:
    with Held(tmp_path) as held:
        tensor = held.stand_in(held.keep(np.zeros(5000)), np.float64, (5000,), "w")
        with pytest.raises((onnx.checker.ValidationError, OSError, ValueError)):
            numpy_helper.to_array(tensor)


def test_other_tensors_are_left_alone(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.arange(6, dtype=np.float32), "w")
    before = tensor.SerializeToString()
    with Held(tmp_path) as held:
        held.join(tensor)
    assert tensor.SerializeToString() == before

"""Which inputs hold no samples, by their shapes."""

from __future__ import annotations

import pytest

from trtconv.core import shape_inputs
from trtconv.core.records import TensorInfo

IMAGE = TensorInfo("x", "float", ("batch", 3))


@pytest.mark.parametrize(
    ("inputs", "known", "expected"),
    [
        ([IMAGE, TensorInfo("s", "int64", (2,))], (), {"s"}),
        ([IMAGE, TensorInfo("s", "int32", ())], (), {"s"}),
        ([IMAGE, TensorInfo("threshold", "float", ())], (), {"threshold"}),
        ([IMAGE, TensorInfo("training", "bool", ())], (), {"training"}),
        ([TensorInfo("x", "float", (8, 3)), TensorInfo("s", "int64", (2,))], (), {"s"}),
        ([TensorInfo("x", "float", (2, 3)), TensorInfo("s", "int64", (2,))], (), set()),  # one for each of two samples
        ([TensorInfo("x", "float", (2, 3)), TensorInfo("s", "int64", (2,))], ("s",), {"s"}),
        ([IMAGE, TensorInfo("ids", "int64", ("batch",))], (), set()),
        ([IMAGE, TensorInfo("ids", "int64", ("batch", 4))], (), set()),
        ([IMAGE, TensorInfo("ids", "int64", (1, 4))], (), set()),
        ([IMAGE, TensorInfo("anchors", "float", (2,))], (), set()),
        ([TensorInfo("s", "int64", (2,))], (), set()),
        ([TensorInfo("s", "int64", (2,))], ("s",), {"s"}),
        ([IMAGE], ("gone",), set()),
    ],
)
def test_shapes_tell(inputs: list[TensorInfo], known: tuple[str, ...], expected: set[str]) -> None:
    assert shape_inputs.names(inputs, known) == expected

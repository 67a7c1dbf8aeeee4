"""Large arrays that wait in a file while tf2onnx works on a graph: stand-ins go through it in their place.

tf2onnx copies every constant on each of its passes, into memory that is never given back: 50 times a model's size. A
stand-in is a constant with type and shape whose contents are a token, the digest of the real ones; where tf2onnx asks
for the values, it gets an array mapped from the file, and where it makes an array, a new stand-in. So equal constants
still look equal to it, and what it computes is what it computes with the weights inside.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.adapters import tensorflow
from trtconv.core.weights import HELD_ABOVE, Weight

_MARK = b"held:"


class Held:
    """Contents of arrays by token; those that are made on the way wait in a temporary file without a name."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with this object
        self._contents: dict[bytes, Weight] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._contents.clear()
        self._file.close()

    def __contains__(self, token: bytes) -> bool:
        return token in self._contents

    def refer(self, weight: Weight) -> bytes:
        """The token of contents that stay where they are."""
        token = _token(weight.read())
        self._contents.setdefault(token, weight)
        return token

    def keep(self, array: np.ndarray) -> bytes:
        """The token of an array, whose contents go into the file."""
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        token = _token(content)
        if token not in self._contents:
            place = self._file.seek(0, 2)
            self._file.write(content)
            self._file.flush()
            self._contents[token] = Weight(len(content), lambda: self._mapped(place, len(content)))
        return token

    def array(self, token: bytes, dtype: Any, shape: Sequence[int]) -> np.ndarray:
        """The values behind a token, read-only; they take memory while they are looked at and referred to."""
        return np.frombuffer(self._contents[token].read(), dtype).reshape(shape)

    def stand_in(self, token: bytes, dtype: Any, shape: Sequence[int], name: str) -> onnx.TensorProto:
        """A tensor for tf2onnx: whoever reads it in another way than by ``array`` fails, for want of a file."""
        tensor = onnx.TensorProto(name=name, dims=shape, raw_data=token)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=token.hex())
        return tensor

    def join(self, tensor: onnx.TensorProto) -> None:
        """Give a stand-in its contents; other tensors stay as they are."""
        if tensor.data_location == onnx.TensorProto.EXTERNAL and tensor.raw_data in self:
            content = self._contents[tensor.raw_data].read()
            tensor.ClearField("data_location")
            del tensor.external_data[:]
            tensor.raw_data = bytes(content)

    def _mapped(self, place: int, size: int) -> memoryview:
        return np.memmap(self._file, np.uint8, "r", place, (size,)).data


def _token(content: memoryview) -> bytes:
    return _MARK + hashlib.blake2b(content, digest_size=16).digest()


@contextlib.contextmanager
def instead(held: Held) -> Iterator[None]:
    """Let tf2onnx, and ONNX's helpers that it calls, make and read stand-ins for large arrays."""
    from tf2onnx import tf_utils

    from_array, to_array = numpy_helper.from_array, numpy_helper.to_array
    tf_data, tf_to_onnx = tf_utils.get_tf_tensor_data, tf_utils.tf_to_onnx_tensor

    def make(array: Any, name: str | None = None) -> onnx.TensorProto:
        if array.nbytes <= HELD_ABOVE or array.dtype == object:
            return from_array(array, name)
        return held.stand_in(held.keep(array), array.dtype, array.shape, name or "")

    def read(tensor: onnx.TensorProto, base_dir: str = "") -> np.ndarray:
        if tensor.data_location != onnx.TensorProto.EXTERNAL or tensor.raw_data not in held:
            found: np.ndarray = to_array(tensor, base_dir)
            return found
        return held.array(tensor.raw_data, helper.tensor_dtype_to_np_dtype(tensor.data_type), tensor.dims)

    def read_tf(tensor: Any) -> Any:
        if tensor.tensor_content not in held:
            return tf_data(tensor)
        return held.array(tensor.tensor_content, *_type_and_shape(tensor))

    def make_from_tf(tensor: Any, name: str = "") -> Any:
        if tensor.tensor_content not in held:
            return tf_to_onnx(tensor, name)
        return held.stand_in(tensor.tensor_content, *_type_and_shape(tensor), name)

    numpy_helper.from_array, numpy_helper.to_array = make, read
    tf_utils.get_tf_tensor_data, tf_utils.tf_to_onnx_tensor = read_tf, make_from_tf
    try:
        yield
    finally:
        numpy_helper.from_array, numpy_helper.to_array = from_array, to_array
        tf_utils.get_tf_tensor_data, tf_utils.tf_to_onnx_tensor = tf_data, tf_to_onnx


def _type_and_shape(tensor: Any) -> tuple[Any, list[int]]:
    """Of a TensorProto of TensorFlow."""
    return tensorflow.load().as_dtype(tensor.dtype).as_numpy_dtype, [dim.size for dim in tensor.tensor_shape.dim]

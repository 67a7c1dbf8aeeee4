"""The host's side of a query: a pinned array for every tensor, but for inputs that are made on the device."""

from __future__ import annotations

from collections.abc import Mapping
from threading import RLock
from typing import Protocol

import numpy as np

from trtconv.adapters.cuda import Device, HostSlice, Pinned
from trtconv.core.records import TensorInfo
from trtconv.engines.plan import dtypes
from trtconv.engines.run.device_preprocess import Target

Shapes = Mapping[str, tuple[int, ...]]
Form = tuple[tuple[str, tuple[int, ...], bytes], ...]


class Sides(Protocol):
    """Tensors that pass between the host and a GPU: those of an engine, or of several that run as one.

    Attributes:
        device: the GPU.
        one_at_a_time: see ``Engine``.
        inputs: name, ONNX type and shape.
        outputs: likewise.
        on_host: names of those that TensorRT wants in host memory.
    """

    device: Device
    one_at_a_time: RLock
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    on_host: frozenset[str]


class Tray:
    """Inputs and outputs of one query in pinned memory, which copies reach at full speed. Grows, never shrinks.

    Attributes:
        arrays: by tensor, in its type and present shape; valid until the tensor is laid out anew.
        made: inputs on the device that kernels make, instead of arrays.
        moves: how often a tensor has got another place in memory.
    """

    def __init__(self, engine: Sides) -> None:
        self._alone = engine.one_at_a_time
        self.moves = 0
        self._device, self._on_host = engine.device, engine.on_host
        self._inputs = [info.name for info in engine.inputs]
        self._outputs = [info.name for info in engine.outputs]
        self._dtypes = {info.name: dtypes.numpy_type(info.dtype) for info in (*engine.inputs, *engine.outputs)}
        self._pinned: dict[str, Pinned] = {}
        self._bytes: dict[str, HostSlice] = {}  # of the arrays
        self.arrays: dict[str, np.ndarray] = {}
        self.made: dict[str, Target] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}  # of these

    def lay(self, shapes: Shapes) -> dict[str, np.ndarray]:
        """Make room for tensors of these shapes.

        Returns:
            Their arrays; what they hold is undefined.

        Raises:
            EnvironmentProblem: out of memory.
        """
        for name, shape in shapes.items():
            if name not in self.arrays or self.arrays[name].shape != shape:
                self.arrays[name] = self._array(name, shape)
        return {name: self.arrays[name] for name in shapes}

    def lay_made(self, name: str, shape: tuple[int, ...]) -> Target:
        """Make room on the device for an input that kernels make; nothing may be running.

        Raises:
            EnvironmentProblem: out of memory.
        """
        with self._alone:
            if name not in self.made:
                self.made[name] = Target(self._device)
            self._shapes[name] = shape
            self.made[name].lay(shape[0], int(np.prod(shape, dtype=np.int64)) * self._dtypes[name].itemsize)
        return self.made[name]

    def fill(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Lay out inputs and copy them."""
        for name, target in self.lay({name: array.shape for name, array in feeds.items()}).items():
            np.copyto(target, feeds[name])

    def dtype(self, name: str) -> np.dtype:
        """Of a tensor."""
        return self._dtypes[name]

    def form(self) -> Form:
        """What an execution context must be made ready for: shapes, and values that decide shapes."""
        return tuple(
            (
                name,
                self._shapes.get(name) or self.arrays[name].shape,
                self.arrays[name].tobytes() if name in self._on_host else b"",
            )
            for name in self._inputs
        )

    def bytes_of(self, name: str) -> HostSlice:
        """A tensor's pinned bytes."""
        return self._bytes[name]

    def outputs(self) -> dict[str, np.ndarray]:
        """Copies of the outputs; after everything enqueued is done."""
        return {name: self.arrays[name].copy() for name in self._outputs}

    def close(self) -> None:
        """Free it; nothing may be running."""
        self.arrays, self._bytes = {}, {}
        self.moves += 1
        with self._alone:
            while self._pinned:
                self._pinned.popitem()[1].close()
            while self.made:
                self.made.popitem()[1].close()

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        dtype = self._dtypes[name]
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        pinned = self._pinned.get(name)
        if pinned is None or pinned.array.nbytes < size:
            self.moves += 1
            with self._alone:
                if pinned is not None:
                    self._pinned.pop(name).close()
                pinned = self._pinned[name] = self._device.pinned(max(size, 1))
        part = self._bytes[name] = HostSlice(pinned.address, pinned.array[:size])
        return part.array.view(dtype).reshape(shape)

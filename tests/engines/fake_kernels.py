"""A pretended GPU that runs the package's kernels, in NumPy and at once."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tests.data import kernels
from tests.engines.fake_tensorrt import FakeDevice, _Owned


class KernelDevice(FakeDevice):
    """With kernels, and without what ``lacks`` names: ``register`` or ``module``."""

    def __init__(self, lacks: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.lacks = lacks
        self.landed = 0  # parcels

    def register(self, array: np.ndarray) -> Any:
        if self.lacks == "register":
            return super().register(array)
        assert array.ctypes.data % 4096 == 0
        return _Owned(self)

    def module(self, ptx: bytes) -> Any:
        if self.lacks == "module":
            return super().module(ptx)
        return Module(self)


class Module(_Owned):
    def kernel(self, name: str, parameters: int) -> Any:
        assert parameters == 2
        assert self.device is not None
        return Kernel(self.device, name)


class Kernel:
    def __init__(self, device: Any, name: str) -> None:
        self.device, self.run = device, {"first": first, "second": second}[name]
        self.landed = name == "second"

    def launch(self, stream: Any, grid: tuple[int, ...], block: tuple[int, ...], addresses: tuple[int, int]) -> None:
        threads = [size * count for size, count in zip(grid, block, strict=True)]
        self.run(threads, *addresses)
        self.device.landed += self.landed


def first(threads: list[int], parcel: int, samples: int) -> None:
    words = everything(parcel, threads[2])
    for picture in kernels.pictures(words, threads[2]):
        height, width = kernels.between(picture)
        assert threads[0] >= width
        assert threads[1] >= height
    kernels.first(words, threads[2])


def second(threads: list[int], parcel: int, samples: int) -> None:
    words = everything(parcel, threads[2])
    height, width, planar, floats = (int(word) for word in words[:4])
    assert threads[0] >= width
    assert threads[1] >= height
    shape = (threads[2], 3, height, width) if planar else (threads[2], height, width, 3)
    kind = np.dtype(np.float32 if floats else np.uint8)
    kernels.second(words, at(samples, int(np.prod(shape)) * kind.itemsize).view(kind).reshape(shape))


def everything(parcel: int, count: int) -> np.ndarray:
    """A parcel with its scratch memory: as much as its descriptions tell."""
    head = at(parcel, 4 * (kernels.HEAD + kernels.EACH * count)).view(np.int32)
    ends = [each[3] + int(np.prod(kernels.between(each))) for each in kernels.pictures(head, count)]
    return at(parcel, 4 * max(ends)).view(np.int32)


def at(address: int, size: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)

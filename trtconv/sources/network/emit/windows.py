"""Layers with a moving window: convolution, deconvolution, pooling.

The size of a result and the padding follow PaddingMode in NvInfer.h. Where the sizes of an image are known, padding is
written out, so that no runtime has a rounding of its own to apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtconv.sources.network.emit.site import Site


@dataclass(frozen=True)
class Pads:
    """Padding of a window.

    Attributes:
        before: per axis.
        after: per axis.
        extra: attributes that leave the rest to the runtime, where sizes are not known.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    extra: dict[str, Any]

    @property
    def flat(self) -> list[int]:
        """As ONNX has it."""
        return [*self.before, *self.after]


@dataclass(frozen=True)
class Window:
    """A window along one axis.

    Attributes:
        size: elements from its first to its last, dilation counted.
        stride: of it.
        before: padding that the script gave.
        after: likewise.
    """

    size: int
    stride: int
    before: int
    after: int

    def padded(self, image: int, mode: str, *, pooling: bool) -> tuple[int, int]:
        """Padding that makes every window whole, for an axis of so many elements."""
        if mode.startswith("SAME"):
            total = max((-(-image // self.stride) - 1) * self.stride + self.size - image, 0)
            less, more = total // 2, total - total // 2
            return (less, more) if mode == "SAME_UPPER" else (more, less)
        if mode.startswith("CAFFE"):
            return self._caffe(image, mode, pooling=pooling)
        return self.before, self.after + (self._rest(image + self.before + self.after) if mode.endswith("UP") else 0)

    def _rest(self, image: int) -> int:
        """What the last window lacks when the number of windows is rounded up."""
        return -(image - self.size) % self.stride

    def _caffe(self, image: int, mode: str, *, pooling: bool) -> tuple[int, int]:
        """As Caffe: the padding before counts on both sides; no pooling window begins behind the image."""
        padded = image + 2 * self.before
        rest = self._rest(padded) if mode.endswith("UP") else 0
        count = (padded + rest - self.size) // self.stride + 1
        if pooling and count > 1 and (count - 1) * self.stride >= image + self.before:
            count -= 1
        return self.before, (count - 1) * self.stride + self.size - image - self.before


def _windows(site: Site, kernel: Sequence[int], dilation: Sequence[int]) -> list[Window]:
    sizes = [spread * (size - 1) + 1 for size, spread in zip(kernel, dilation, strict=True)]
    return [
        Window(size, *rest)
        for size, *rest in zip(sizes, site["stride"], site["pre_padding"], site["post_padding"], strict=True)
    ]


def _pads(site: Site, windows: list[Window], *, pooling: bool) -> Pads:
    mode = site["padding_mode"].name
    image = site.known().dims[-len(windows) :]
    given = Pads(tuple(w.before for w in windows), tuple(w.after for w in windows), {})
    if mode == "EXPLICIT_ROUND_DOWN":
        return given
    sizes = [size for size in image if isinstance(size, int)]
    if len(sizes) == len(windows):
        pairs = [window.padded(size, mode, pooling=pooling) for window, size in zip(windows, sizes, strict=True)]
        return Pads(tuple(before for before, _ in pairs), tuple(after for _, after in pairs), {})
    if mode.startswith("SAME"):
        return Pads((), (), {"auto_pad": mode})
    if pooling and mode == "EXPLICIT_ROUND_UP":
        return Pads(given.before, given.after, {"ceil_mode": 1})
    if all(window.stride == 1 for window in windows) and not mode.startswith("CAFFE"):
        return given
    raise site.refused(
        f"padding mode {mode} needs the size of the image, which is dynamic", "give the input fixed sizes"
    )


def convolution(site: Site) -> str:
    """``IConvolutionLayer``: the kernel is K, C / groups, and the window; flat or shaped."""
    spatial, maps, groups = site["kernel_size"], int(site["num_output_maps"]), int(site["num_groups"])
    x, restore = _image(site, len(spatial))
    weights = _kernel(site, (maps, -1, *spatial))
    pads = _pads(site, _windows(site, spatial, site["dilation"]), pooling=False)
    inputs = [x, weights, *_bias(site, maps)]
    if any(size < 0 for size in pads.flat):
        inputs[0], pads = _cropped(site, inputs[0], pads), Pads((0,) * len(spatial), (0,) * len(spatial), {})
    name = site.op(
        "Conv",
        *inputs,
        kernel_shape=list(spatial),
        strides=list(site["stride"]),
        dilations=list(site["dilation"]),
        group=groups,
        **(pads.extra or {"pads": pads.flat}),
    )
    return restore(name)


def deconvolution(site: Site) -> str:
    """``IDeconvolutionLayer``: the kernel is C, K / groups, and the window."""
    spatial, maps, groups = site["kernel_size"], int(site["num_output_maps"]), int(site["num_groups"])
    x, restore = _image(site, len(spatial))
    if maps % groups:
        raise site.refused(f"{maps} output maps are no multiple of {groups} groups")
    weights = _kernel(site, (-1, maps // groups, *spatial))
    windows = _windows(site, spatial, site["dilation"])
    pairs = [_unpadded(window, site["padding_mode"].name) for window in windows]
    name = site.op(
        "ConvTranspose",
        x,
        weights,
        *_bias(site, maps),
        kernel_shape=list(spatial),
        strides=list(site["stride"]),
        dilations=list(site["dilation"]),
        group=groups,
        pads=[*(before for before, _ in pairs), *(after for _, after in pairs)],
    )
    return restore(name)


def _unpadded(window: Window, mode: str) -> tuple[int, int]:
    """What a deconvolution leaves out at the ends: its size is never rounded, SAME crops to image times stride."""
    if mode.startswith("CAFFE"):
        return window.before, window.before
    if not mode.startswith("SAME"):
        return window.before, window.after
    total = max(window.size - window.stride, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def pooling(site: Site) -> str:
    """``IPoolingLayer``."""
    window = site["window_size"]
    x, restore = _image(site, len(window))
    pads = _pads(site, _windows(site, window, (1,) * len(window)), pooling=True)
    kind = site["type"].name
    if kind == "MAX":
        return restore(_maximum(site, x, pads))
    if kind == "AVERAGE":
        return restore(_average(site, x, pads))
    blend = float(site["blend_factor"])
    parts = [(_maximum, 1 - blend), (_average, blend)]
    terms = [site.op("Mul", pool(site, x, pads), site.constant(share, np.float32)) for pool, share in parts]
    return restore(site.op("Add", *terms))


def _maximum(site: Site, x: str, pads: Pads) -> str:
    x, pads = _fitting(site, x, pads, -np.inf)
    return site.op("MaxPool", x, **_moving(site, pads))


def _average(site: Site, x: str, pads: Pads) -> str:
    """Of what is in the image, or of the whole window with zeros around the image."""
    if site["average_count_excludes_padding"]:
        return site.op("AveragePool", x, count_include_pad=0, **_moving(site, pads))
    if not pads.extra and any(pads.flat):
        x, pads = _padded(site, x, pads, 0.0), Pads((0,) * len(pads.before), (0,) * len(pads.before), {})
    return site.op("AveragePool", x, count_include_pad=1, **_moving(site, pads))


def _moving(site: Site, pads: Pads) -> dict[str, Any]:
    shared = {"kernel_shape": list(site["window_size"]), "strides": list(site["stride"])}
    return shared | (pads.extra if "auto_pad" in pads.extra else {"pads": pads.flat, **pads.extra})


def _fitting(site: Site, x: str, pads: Pads, filling: float) -> tuple[str, Pads]:
    """ONNX runtimes want padding smaller than the window: more is written out."""
    window = site["window_size"]
    if pads.extra or all(max(ends) < size for *ends, size in zip(pads.before, pads.after, window, strict=True)):
        return x, pads
    return _padded(site, x, pads, filling), Pads((0,) * len(window), (0,) * len(window), {})


def _padded(site: Site, x: str, pads: Pads, filling: float) -> str:
    ends = [0, 0, *pads.before, 0, 0, *pads.after]
    return site.op("Pad", x, site.ints(ends), site.constant(filling, np.float32))


def _cropped(site: Site, x: str, pads: Pads) -> str:
    positive = Pads(tuple(max(p, 0) for p in pads.before), tuple(max(p, 0) for p in pads.after), {})
    x = _padded(site, x, positive, 0.0)
    axes = list(range(2, 2 + len(pads.before)))
    starts = [max(-p, 0) for p in pads.before]
    ends = [min(p, 0) or np.iinfo(np.int64).max for p in pads.after]
    return site.op("Slice", x, site.ints(starts), site.ints(ends), site.ints(axes))


def _kernel(site: Site, dims: tuple[int, ...]) -> str:
    """The weights: an attribute, or a second input (quantized ones are)."""
    if site.has(1):
        return site.known(1).name
    weights = site.array("kernel")
    known = abs(int(np.prod(dims)))
    if not weights.size or not known or weights.size % known:
        raise site.refused(
            f"its kernel has {weights.size} weights, no multiple of {' x '.join(map(str, _positive(dims)))}"
        )
    shaped = weights.reshape(dims)
    channels = site.known().dims[-len(site["kernel_size"]) - 1]
    taken = shaped.shape[1] * int(site["num_groups"]) if dims[1] < 0 else shaped.shape[0]
    if isinstance(channels, int) and channels != taken:
        raise site.refused(f"its kernel is for {taken} channels, its input has {channels}")
    return site.constant(shaped)


def _positive(dims: tuple[int, ...]) -> list[int]:
    return [size for size in dims if size > 0]


def _bias(site: Site, maps: int) -> list[str]:
    if site.has(2):
        return [site.known(2).name]
    bias = site.array("bias")
    if not bias.size:
        return []
    if bias.size != maps:
        raise site.refused(f"its bias has {bias.size} weights for {maps} output maps")
    return [site.constant(bias.reshape(maps))]


def _image(site: Site, spatial: int) -> tuple[str, Callable[[str], str]]:
    """The input as a batch of images, and the way back: dimensions before the channels are all batch.

    Raises:
        Refused: fewer dimensions than channels and window need.
    """
    rank = site.rank
    if rank - 1 < spatial + 1:
        needs = f"needs {spatial + 1} dimensions behind the batch"
        raise site.refused(f"{needs}, its input has {rank - 1} ({list(site.known().dims)})")
    if rank == spatial + 2:
        return site.x, lambda name: name
    keep = rank - spatial - 1
    shape = site.op("Shape", site.x)
    inner = site.op("Slice", shape, site.ints([keep]), site.ints([rank]))
    flat = site.op("Reshape", site.x, site.op("Concat", site.ints([-1]), inner, axis=0))
    leading = site.op("Slice", shape, site.ints([0]), site.ints([keep]))

    def restore(name: str) -> str:
        after = site.op("Slice", site.op("Shape", name), site.ints([1]), site.ints([spatial + 2]))
        return site.op("Reshape", name, site.op("Concat", leading, after, axis=0))

    return flat, restore

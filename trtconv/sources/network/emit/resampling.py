"""Layers that read a tensor between its elements."""

from __future__ import annotations

import numpy as np

from trtconv.sources.network.emit.site import Site

_ROUNDING = {"HALF_UP": "round_prefer_ceil", "HALF_DOWN": "round_prefer_floor", "FLOOR": "floor", "CEIL": "ceil"}
_COORDINATES = {"ALIGN_CORNERS": "align_corners", "ASYMMETRIC": "asymmetric", "HALF_PIXEL": "half_pixel"}


def resize(site: Site) -> str:
    """``IResizeLayer``: to a shape, by scales, or to a shape that is computed (input 1)."""
    attributes = {
        "mode": {"NEAREST": "nearest", "LINEAR": "linear", "CUBIC": "cubic"}[site["resize_mode"].name],
        "coordinate_transformation_mode": _coordinates(site),
        "nearest_mode": _ROUNDING[site["nearest_rounding"].name],
        "cubic_coeff_a": float(site["cubic_coeff"]),
        "exclude_outside": int(bool(site["exclude_outside"])),
    }
    if site.has(1):
        return site.op("Resize", site.x, "", "", _with_batch(site, site.as_int64(1)), **attributes)
    if site["shape"] is not None and not _scaled(site):
        return site.op("Resize", site.x, "", "", _sizes(site), **attributes)
    if site["scales"] is None:
        return site.op("Identity", site.x)
    if len(site["scales"]) != site.rank - site.lead:
        raise site.refused(f"{len(site['scales'])} scales for {site.rank - site.lead} dimensions")
    sizes = site.known().dims[site.lead :]
    scales = [1.0] * site.lead + [_scale(size, scale) for size, scale in zip(sizes, site["scales"], strict=True)]
    return site.op("Resize", site.x, "", site.constant(scales, np.float32), **attributes)


def _scaled(site: Site) -> bool:
    """Whether scales were set before the shape: TensorRT takes the size from the shape and places from the scales."""
    if site["scales"] is None:
        return False
    sizes = site.known().dims[site.lead :]
    made = [
        int(np.float32(n) * np.float32(s)) for n, s in zip(sizes, site["scales"], strict=False) if isinstance(n, int)
    ]
    if made != list(site["shape"]):
        raise site.refused(f"its shape {site['shape']} is not what its scales {site['scales']} make of {list(sizes)}")
    return True


def _scale(size: object, scale: float) -> np.float32:
    """A scale as TensorRT multiplies by it, in single precision: 10 times 2.3 is 23, which ONNX's inference misses."""
    factor = np.float32(scale)
    if isinstance(size, int):
        wanted = int(np.float32(size) * factor)
        while int(size * float(factor)) < wanted:
            factor = np.nextafter(factor, np.float32(np.inf))
    return factor


def _coordinates(site: Site) -> str:
    """The older attribute align_corners counts too; one pixel that is chosen from the upper end is PyTorch's rule."""
    name = "ALIGN_CORNERS" if site["align_corners"] else site["coordinate_transformation"].name
    if name == "HALF_PIXEL" and site["selector_for_single_pixel"].name == "UPPER":
        return "pytorch_half_pixel"
    return _COORDINATES[name]


def _sizes(site: Site) -> str:
    given = list(site["shape"])
    if len(given) != site.rank - site.lead:
        raise site.refused(f"a shape of {len(given)} dimensions for {site.rank - site.lead}")
    dims = site.known().dims[site.lead :]
    if all(size >= 0 for size in given):
        return _with_batch(site, site.ints(given))
    kept = [
        site.op("Slice", site.op("Shape", site.x), site.ints([axis + site.lead]), site.ints([axis + site.lead + 1]))
        if size < 0
        else site.ints([size])
        for axis, size in enumerate(given)
    ]
    if any(size < 0 and isinstance(dim, int) for size, dim in zip(given, dims, strict=True)):
        raise site.refused(f"shape {given} for dimensions {list(dims)}")
    return _with_batch(site, site.op("Concat", *kept, axis=0))


def _with_batch(site: Site, sizes: str) -> str:
    if not site.lead:
        return sizes
    batch = site.op("Slice", site.op("Shape", site.x), site.ints([0]), site.ints([1]))
    return site.op("Concat", batch, sizes, axis=0)


def grid_sample(site: Site) -> str:
    """``IGridSampleLayer``."""
    modes = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}
    borders = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
    border = site["sample_mode"].name
    if border not in borders:
        raise site.refused(f"sample mode {border}")
    return site.op(
        "GridSample",
        site.x,
        site.known(1).name,
        mode=modes[site["interpolation_mode"].name],
        padding_mode=borders[border],
        align_corners=int(bool(site["align_corners"])),
    )

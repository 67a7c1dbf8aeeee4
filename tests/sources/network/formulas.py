"""NumPy's side of the comparisons: what layers of TensorRT's network API compute, from their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np


def windows(x, size, stride, dilation=(1, 1), fill=0.0, pads=((0, 0), (0, 0)), count=None):
    """Every window of an image N, C, H, W: an array N, C, OH, OW, KH, KW; NaN-safe, count overrides OH, OW."""
    x = np.pad(x, ((0, 0), (0, 0), *((max(b, 0), max(a, 0)) for b, a in pads)), constant_values=fill)
    spread = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    count = count or [(n - w) // s + 1 for n, w, s in zip(x.shape[2:], spread, stride, strict=True)]
    out = np.empty((*x.shape[:2], *count, *size), x.dtype)
    for i, j in itertools.product(*map(range, count)):
        rows = i * stride[0] + np.arange(size[0]) * dilation[0]
        columns = j * stride[1] + np.arange(size[1]) * dilation[1]
        out[:, :, i, j] = x[:, :, rows][:, :, :, columns]
    return out


def convolution(x, w, b=None, stride=(1, 1), pads=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    parts = []
    for xs, ws in zip(np.split(x, groups, 1), np.split(w, groups, 0), strict=True):
        parts.append(np.einsum("nchwij,kcij->nkhw", windows(xs, w.shape[2:], stride, dilation, pads=pads), ws))
    y = np.concatenate(parts, 1)
    return y if b is None else y + b[:, None, None]


def deconvolution(x, w, b=None, stride=(1, 1), crop=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """Every input element adds its kernel at its place; w is C, K / groups, KH, KW."""
    n, c, h, wd = x.shape
    k = w.shape[1] * groups
    full = [
        (size - 1) * s + (kk - 1) * d + 1 for size, s, kk, d in zip((h, wd), stride, w.shape[2:], dilation, strict=True)
    ]
    y = np.zeros((n, k, *full), np.float64)
    per_in, per_out = c // groups, w.shape[1]
    for ci, i, j in itertools.product(range(c), range(h), range(wd)):
        g = ci // per_in
        for a, e in itertools.product(*map(range, w.shape[2:])):
            place = y[
                :, g * per_out : (g + 1) * per_out, i * stride[0] + a * dilation[0], j * stride[1] + e * dilation[1]
            ]
            place += x[:, ci, i, j, None] * w[ci, :, a, e]
    (t, bt), (le, r) = crop
    y = y[:, :, t : full[0] - bt, le : full[1] - r]
    return y if b is None else y + b[:, None, None]


def pool(x, size, stride, kind, pads=((0, 0), (0, 0)), count=None, count_padding=False, over=((0, 0), (0, 0))):
    """Max or mean; ``over`` is what a rounded-up size reads beyond the padding."""
    ends = [(b + 0, a + o) for (b, a), (_, o) in zip(pads, over, strict=True)]
    if kind == "max":
        return windows(x, size, stride, fill=-np.inf, pads=ends, count=count).max((-2, -1))
    total = windows(x, size, stride, pads=ends, count=count).sum((-2, -1))
    if count_padding:
        return total / math.prod(size)
    ones = windows(np.ones_like(x), size, stride, pads=ends, count=count).sum((-2, -1))
    return total / ones


def erf(x):
    return np.vectorize(math.erf)(np.asarray(x, np.float64))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def lrn(x, window, alpha, beta, k):
    square, out = x * x, np.empty_like(x)
    half = window // 2
    for c in range(x.shape[1]):
        near = square[:, max(0, c - half) : c + half + 1].sum(1)
        out[:, c] = x[:, c] / (k + alpha / window * near) ** beta
    return out


def normal(x, axes, epsilon=1e-5):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)


def resize_axis(x, axis, size, scale, place, pick):
    """One axis: ``place`` maps an output index to a coordinate, ``pick`` a coordinate to (index, weight) pairs."""
    out = []
    for index in range(size):
        pairs = pick(place(index, x.shape[axis], size, scale))
        out.append(sum(np.take(x, min(max(i, 0), x.shape[axis] - 1), axis) * w for i, w in pairs))
    return np.stack(out, axis)


def half_pixel(i, n, m, scale):
    return (i + 0.5) / scale - 0.5


def asymmetric(i, n, m, scale):
    return i / scale


def align_corners(i, n, m, scale):
    return i * (n - 1) / (m - 1) if m > 1 else 0.0


def linear(c):
    low = math.floor(c)
    return [(low, 1 - (c - low)), (low + 1, c - low)]


def cubic(c, a=-0.75):
    low, t = math.floor(c), c - math.floor(c)

    def weight(d):
        d = abs(d)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    return [(low + k, weight(t - k)) for k in (-1, 0, 1, 2)]


def resize(x, sizes, place, pick, scales=None):
    for axis, size in zip((2, 3), sizes, strict=True):
        scale = scales[axis - 2] if scales else size / x.shape[axis]
        x = resize_axis(x, axis, size, scale, place, pick)
    return x


def grid_sample(x, grid, nearest=False, border=False, align=False):
    """Bilinear (or nearest) at places given in -1 .. 1."""
    n, c, h, w = x.shape
    out = np.zeros((n, c, *grid.shape[1:3]))
    for b, i, j in itertools.product(range(n), *map(range, grid.shape[1:3])):
        gx, gy = grid[b, i, j]
        px = (gx + 1) / 2 * (w - 1) if align else ((gx + 1) * w - 1) / 2
        py = (gy + 1) / 2 * (h - 1) if align else ((gy + 1) * h - 1) / 2
        if border:
            px, py = min(max(px, 0), w - 1), min(max(py, 0), h - 1)
        xs, ys = [[(round(v), 1.0)] if nearest else linear(v) for v in (px, py)]
        for (yi, wy), (xi, wx) in itertools.product(ys, xs):
            if 0 <= yi < h and 0 <= xi < w:
                out[b, :, i, j] += x[b, :, yi, xi] * wy * wx
    return out


def nms(boxes, scores, count, iou, threshold):
    """Corner boxes N, S, 4 and scores N, S, C: rows (image, class, box) by image, class, falling score."""
    chosen = []
    for n, c in itertools.product(range(scores.shape[0]), range(scores.shape[2])):
        kept: list[int] = []
        for s in np.argsort(-scores[n, :, c], kind="stable"):
            if scores[n, s, c] <= threshold or len(kept) == count:
                break
            if all(overlap(boxes[n, s], boxes[n, k]) <= iou for k in kept):
                kept.append(int(s))
        chosen += [(n, c, s) for s in kept]
    return np.array(chosen).reshape(-1, 3)


def overlap(a, b):
    side = [max(min(a[k + 2], b[k + 2]) - max(a[k], b[k]), 0) for k in (0, 1)]
    both = side[0] * side[1]
    area = [(one[2] - one[0]) * (one[3] - one[1]) for one in (a, b)]
    return both / (sum(area) - both)

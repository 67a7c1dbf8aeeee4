"""The last step of object detectors in ONNX operators: boxes from offsets to priors, and non-maximum suppression.

Every function adds nodes to a ``Builder`` and returns names of tensors. Shapes: B images, C classes, P priors, K
results. Boxes are (xmin, ymin, xmax, ymax). All results have a fixed number of rows, so engines need no output of
unknown size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from trtconv.core.errors import ConversionError
from trtconv.graph import greedy
from trtconv.graph.building import Builder

PAIRS = 1 << 24
"""Up to so many pairs of boxes, over all classes, each pair is looked at, which every TensorRT can; beyond that
NonMaxSuppression does it."""

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Suppression:
    """What is kept.

    Attributes:
        overlap: intersection over union above which the box of lower score goes.
        score: a box needs a score above this.
        candidates: boxes per class that enter, those of the highest scores; 0 or less: all.
        results: rows per image at most; 0 or less: no bound but that of the candidates.
        classes: which classes take part, such as all but the background.
        offset: 1 where boxes are pixels that include their ends, 0 where they are not.
        grouped: whether rows are ordered by class, then score, as Caffe does; else by score.
    """

    overlap: float
    score: float
    candidates: int
    results: int
    classes: tuple[int, ...]
    offset: float = 0.0
    grouped: bool = True


@dataclass(frozen=True)
class Detections:
    """Tensors of the results; rows behind the last result are not valid.

    Attributes:
        scores: float32 [B, K].
        classes: int64 [B, K].
        boxes: float32 [B, K, 4].
        priors: int64 [B, K], which of the P boxes it was.
        valid: bool [B, K].
        rows: K.
    """

    scores: str
    classes: str
    boxes: str
    priors: str
    valid: str
    rows: int


def decode_centers(b: Builder, deltas: str, priors: str, variances: str, wish: str, offset: float = 0.0) -> str:
    """Boxes from offsets of centre and size: c = c_p + v d s_p,  s = s_p exp(v d), per axis (SSD, arXiv 1512.02325).

    Args:
        b: the graph.
        deltas: [..., 4]: x, y, width, height.
        priors: boxes that broadcast to it.
        variances: factors that broadcast to it; empty: the deltas hold them already.
        wish: what names begin with.
        offset: as in ``Suppression``.
    """
    low, high = _halves(b, priors, f"{wish}/prior")
    size = b.add("Sub", [high, low], f"{wish}/prior_size")
    if offset:
        size = b.add("Add", [size, b.constant(offset, f"{wish}/offset")], f"{wish}/prior_pixels")
    half = b.constant(0.5, f"{wish}/half")
    center = b.add("Add", [low, b.add("Mul", [size, half], f"{wish}/prior_half")], f"{wish}/prior_center")
    scaled = b.add("Mul", [deltas, variances], f"{wish}/deltas") if variances else deltas
    move, grow = _halves(b, scaled, f"{wish}/delta")
    moved = b.add("Add", [b.add("Mul", [move, size], f"{wish}/move"), center], f"{wish}/center")
    grown = b.add("Mul", [b.add("Exp", [grow], f"{wish}/exp"), size], f"{wish}/size")
    reach = b.add("Mul", [grown, half], f"{wish}/reach")
    lower, upper = b.add("Sub", [moved, reach], f"{wish}/low"), b.add("Add", [moved, reach], f"{wish}/high")
    if offset:
        upper = b.add("Sub", [upper, b.constant(offset, f"{wish}/offset")], f"{wish}/high_pixel")
    return b.add("Concat", [lower, upper], f"{wish}/boxes", axis=-1)


def decode_corners(b: Builder, deltas: str, priors: str, variances: str, wish: str, *, by_size: bool = False) -> str:
    """Boxes from offsets of their corners: p + v d, with ``by_size`` p + v d s_p; arguments as in decode_centers."""
    scaled = b.add("Mul", [deltas, variances], f"{wish}/deltas") if variances else deltas
    if by_size:
        low, high = _halves(b, priors, f"{wish}/prior")
        size = b.add("Sub", [high, low], f"{wish}/prior_size")
        scaled = b.add("Mul", [scaled, b.add("Concat", [size, size], f"{wish}/sizes", axis=-1)], f"{wish}/moves")
    return b.add("Add", [priors, scaled], f"{wish}/boxes")


def clip(b: Builder, boxes: str, wish: str, high: float = 1.0) -> str:
    """Boxes within 0 and ``high``."""
    return b.add("Clip", [boxes, b.constant(0.0, f"{wish}/least"), b.constant(high, f"{wish}/most")], f"{wish}/clipped")


def _halves(b: Builder, boxes: str, wish: str) -> list[str]:
    """The x and y of both ends."""
    parts = b.constant([2, 2], f"{wish}/parts")
    return b.several("Split", [boxes, parts], [f"{wish}_low", f"{wish}_high"], axis=-1)


def suppress(b: Builder, boxes: str, scores: str, rule: Suppression, wish: str) -> Detections:
    """Non-maximum suppression per image and class, then the best of an image over all its classes.

    Args:
        b: the graph.
        boxes: [B, P, 4], or [B, C, P, 4] where classes have boxes of their own.
        scores: [B, C, P].
        rule: what is kept.
        wish: what names begin with.

    Raises:
        ConversionError: number of classes or priors not known, or no class takes part.
    """
    count, priors = _sizes(b, scores, wish)
    own = len(b.shape(boxes)) == 4
    if rule.classes != tuple(range(count)):
        chosen = b.constant(list(rule.classes), f"{wish}/classes")
        scores = b.add("Gather", [scores, chosen], f"{wish}/class_scores", axis=1)
        boxes = b.add("Gather", [boxes, chosen], f"{wish}/class_boxes", axis=1) if own else boxes
    count = len(rule.classes)
    field, order = _Field(b, wish, count, priors, own), ""
    size = min(rule.candidates, priors) if rule.candidates > 0 else priors
    by_pairs = count * size * size <= PAIRS
    if by_pairs or size < priors:
        field, boxes, scores, order = field.best(boxes, scores, size)
    elif own:
        boxes, scores = field.apart(boxes, (field.depth, 4)), field.apart(scores, (1, field.depth))
    least = -1.0 if rule.score >= 0 else _LOWEST
    kept = (_kept_by_pairs if by_pairs else _kept)(b, boxes, scores, rule, least, wish)
    return field.ranked(boxes, kept, least, order, rule)


def _sizes(b: Builder, scores: str, wish: str) -> tuple[int, int]:
    dims = b.shape(scores)
    if len(dims) != 3 or not isinstance(dims[1], int) or not isinstance(dims[2], int):
        raise ConversionError(
            f"{wish}: scores [image, class, prior] of fixed sizes are needed, not {list(dims)}",
            hint="give the image a fixed height and width",
        )
    return dims[1], dims[2]


def _kept_by_pairs(b: Builder, boxes: str, scores: str, rule: Suppression, least: float, wish: str) -> str:
    """Scores [N, 1, k] of boxes in their order, with ``least`` in place of those that do not stay."""
    column = b.add("Transpose", [scores], f"{wish}/score_column", perm=[0, 2, 1])
    valid = b.add("Greater", [column, b.constant(np.float32(rule.score), f"{wish}/score")], f"{wish}/above")
    stay = greedy.keep(b, boxes, valid, rule.overlap, rule.offset, f"{wish}/greedy")
    return b.add("Where", [stay, column, b.constant(least, f"{wish}/blank")], f"{wish}/kept")


def _kept(b: Builder, boxes: str, scores: str, rule: Suppression, least: float, wish: str) -> str:
    """The same for boxes in any order."""
    depth = b.shape(scores)[2]
    assert isinstance(depth, int)
    if rule.offset:
        ends = np.array([0, 0, rule.offset, rule.offset], np.float32)
        boxes = b.add("Add", [boxes, b.constant(ends, f"{wish}/ends")], f"{wish}/whole_pixels")
    limits = [
        b.constant(np.int64(depth), f"{wish}/most"),
        b.constant(np.float32(rule.overlap), f"{wish}/overlap"),
        b.constant(np.float32(max(rule.score, _LOWEST)), f"{wish}/score"),
    ]
    chosen = b.add("NonMaxSuppression", [boxes, scores, *limits], f"{wish}/NonMaxSuppression")
    found = b.add("GatherND", [scores, chosen], f"{wish}/nms_scores")
    blank = _filled(b, scores, least, wish)
    return b.add("ScatterND", [blank, chosen, found], f"{wish}/kept")


def _filled(b: Builder, like: str, value: float, wish: str) -> str:
    """A tensor of one number, as large as another."""
    dims = b.shape(like)
    if all(isinstance(dim, int) for dim in dims):
        return b.constant(np.full([dim for dim in dims if isinstance(dim, int)], value, np.float32), f"{wish}/blank")
    size = b.add("Shape", [like], f"{wish}/nms_shape")
    return b.add("ConstantOfShape", [size], f"{wish}/blank", value=_tensor(value))


def _tensor(value: float) -> TensorProto:
    return TensorProto(data_type=TensorProto.FLOAT, dims=[1], raw_data=np.float32(value).tobytes())


@dataclass(frozen=True)
class _Field:
    """Boxes of all classes of an image in a row.

    Attributes:
        b: the graph.
        wish: what names begin with.
        count: classes.
        depth: boxes per class.
        own: whether each class has boxes of its own.
    """

    b: Builder
    wish: str
    count: int
    depth: int
    own: bool

    def apart(self, tensor: str, dims: tuple[int, ...]) -> str:
        """Every class as an image of its own: [B C, ...]."""
        shape = self.b.constant([-1, *dims], f"{self.wish}/apart_shape")
        return self.b.add("Reshape", [tensor, shape], f"{tensor}_apart")

    def best(self, boxes: str, scores: str, size: int) -> tuple[_Field, str, str, str]:
        """The boxes of the highest scores, per class; also which they were, [B, C size]."""
        b, wish = self.b, self.wish
        amount = b.constant([size], f"{wish}/candidates")
        top, order = b.several("TopK", [scores, amount], [f"{wish}/top_scores", f"{wish}/top"], axis=2)
        if self.own:
            boxes = self.apart(boxes, (self.depth, 4))
        width = size if self.own else self.count * size
        index = self.apart(order, (width, 1))
        boxes = b.add("GatherND", [boxes, index], f"{wish}/top_boxes", batch_dims=1)
        boxes = self.apart(boxes, (size, 4))
        order = self.apart(order, (self.count * size,))
        return _Field(b, wish, self.count, size, True), boxes, self.apart(top, (1, size)), order

    def ranked(self, boxes: str, kept: str, least: float, order: str, rule: Suppression) -> Detections:
        """The best of each image, in the order that was asked for."""
        b, wish = self.b, self.wish
        total = self.count * self.depth
        rows = min(rule.results, total) if rule.results > 0 else total
        scores, where = b.several(
            "TopK",
            [self.apart(kept, (total,)), b.constant([rows], f"{wish}/rows")],
            [f"{wish}/best_scores", f"{wish}/best"],
            axis=1,
        )
        depth = b.constant(np.int64(self.depth), f"{wish}/depth")
        valid = b.add("Greater", [scores, b.constant(least, f"{wish}/mark")], f"{wish}/found")
        if rule.grouped and self.count > 1:
            place = self._by_class(b.add("Div", [where, depth], f"{wish}/group"), valid, rows)
            scores = b.add("GatherElements", [scores, place], f"{wish}/scores", axis=1)
            where = b.add("GatherElements", [where, place], f"{wish}/where", axis=1)
            valid = b.add("Greater", [scores, b.constant(least, f"{wish}/mark")], f"{wish}/valid")
        group = b.add("Div", [where, depth], f"{wish}/group")
        labels = b.add("Gather", [b.constant(list(rule.classes), f"{wish}/labels"), group], f"{wish}/label")
        return Detections(scores, labels, *self._sources(boxes, where, order), valid, rows)

    def _by_class(self, group: str, valid: str, rows: int) -> str:
        """Places that order by class, keeping the order by score within; what is not valid comes last."""
        b, wish = self.b, self.wish
        last = b.add("Where", [valid, group, b.constant(np.int64(self.count), f"{wish}/last")], f"{wish}/ordered_group")
        stride = b.add("Mul", [last, b.constant(np.int64(rows), f"{wish}/stride")], f"{wish}/group_start")
        key = b.add("Add", [stride, b.constant(np.arange(rows)[None], f"{wish}/position")], f"{wish}/key")
        amount = b.constant([rows], f"{wish}/rows")
        return b.several("TopK", [key, amount], [f"{wish}/keys", f"{wish}/place"], axis=1, largest=0)[1]

    def _sources(self, boxes: str, where: str, order: str) -> tuple[str, str]:
        """Boxes of the rows, and which of the P they were."""
        b, wish = self.b, self.wish
        prior = b.add("Mod", [where, b.constant(np.int64(self.depth), f"{wish}/depth")], f"{wish}/prior")
        index = where if self.own else prior
        if self.own:
            boxes = self.apart(boxes, (self.count * self.depth, 4))
        index = b.add("Unsqueeze", [index, b.constant([2], f"{wish}/axis")], f"{wish}/index")
        chosen = b.add("GatherND", [boxes, index], f"{wish}/chosen", batch_dims=1)
        if order:
            prior = b.add("GatherElements", [order, where], f"{wish}/source", axis=1)
        return chosen, prior


def rows(b: Builder, found: Detections, columns: Sequence[str], wish: str) -> str:
    """Results as rows of numbers, [B, K, n + 4], -1 throughout where there is none.

    Args:
        b: the graph.
        found: what there is.
        columns: tensors of any type that stand before the box, [B, K] or broadcast to it.
        wish: name of the result.
    """
    axis = b.constant([2], f"{wish}/axis")
    parts = []
    for position, column in enumerate(columns):
        number = b.add("Cast", [column], f"{wish}/number{position}", to=TensorProto.FLOAT)
        parts.append(b.add("Unsqueeze", [number, axis], f"{wish}/column{position}"))
    table = b.add("Concat", [*parts, found.boxes], f"{wish}/table", axis=2)
    valid = b.add("Unsqueeze", [found.valid, axis], f"{wish}/valid_rows")
    return b.add("Where", [valid, table, b.constant(-1.0, f"{wish}/none")], wish)


def images(b: Builder, found: Detections, wish: str) -> str:
    """The number of the image that each row belongs to, int64 [B, K]."""
    batch = b.shape(found.scores)[0]
    if isinstance(batch, int):
        return b.constant(np.repeat(np.arange(batch)[:, None], found.rows, 1), f"{wish}/image")
    size = b.add("Shape", [found.scores], f"{wish}/result_shape")
    first = b.add("Gather", [size, b.constant(np.int64(0), f"{wish}/zero")], f"{wish}/batch", axis=0)
    count = b.add(
        "Range",
        [b.constant(np.int64(0), f"{wish}/start"), first, b.constant(np.int64(1), f"{wish}/step")],
        f"{wish}/count",
    )
    column = b.add("Unsqueeze", [count, b.constant([1], f"{wish}/column_axis")], f"{wish}/image_column")
    return b.add("Expand", [column, size], f"{wish}/image")

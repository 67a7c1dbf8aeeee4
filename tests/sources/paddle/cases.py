"""Small programs around one operator or one detector; ``tests/data/paddle`` holds what Paddle 3.2.2 computes for them.

``python tests/sources/paddle/cases.py PYTHON`` records it again, PYTHON being an interpreter that has Paddle.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.sources.paddle.programs import Writer

RECORDED = Path(__file__).parents[2] / "data/paddle"
VARIANCES = [0.1, 0.1, 0.2, 0.2]


def lrn() -> Writer:
    net = Writer()
    net.feed("x", (-1, 8, 5, 5))
    net.variable("squares", (-1, 8, 5, 5)), net.variable("y", (-1, 8, 5, 5))
    net.op("lrn", {"X": "x"}, {"Out": "y", "MidOut": "squares"}, n=5, k=2.0, alpha=0.3, beta=0.75)
    net.fetch("y")
    return net


def softplus() -> Writer:
    net = Writer()
    net.feed("x", (-1, 40))
    net.fetch(net.one("softplus", {"X": "x"}, "y", (-1, 40), beta=2.0, threshold=2.0))
    return net


def shuffle_channel() -> Writer:
    net = Writer()
    net.feed("x", (-1, 8, 3, 2))
    net.fetch(net.one("shuffle_channel", {"X": "x"}, "y", (-1, 8, 3, 2), group=2))
    return net


def maxout() -> Writer:
    net = Writer()
    net.feed("x", (-1, 8, 3, 2))
    net.fetch(net.one("maxout", {"X": "x"}, "y", (-1, 4, 3, 2), groups=2, axis=1))
    return net


def priors(**attributes: object) -> Writer:
    net = Writer()
    net.feed("x", (-1, 8, 4, 5)), net.feed("image", (-1, 3, 30, 40))
    net.variable("boxes", (4, 5, 8, 4)), net.variable("var", (4, 5, 8, 4))
    given = {"min_sizes": [4.0, 8.5], "aspect_ratios": [2.0, 3.0], "variances": VARIANCES, "offset": 0.5}
    given |= {"step_w": 0.0, "step_h": 0.0, "min_max_aspect_ratios_order": False, "flip": False, "clip": False}
    given |= attributes
    net.op("prior_box", {"Input": "x", "Image": "image"}, {"Boxes": "boxes", "Variances": "var"}, **given)
    net.fetch("boxes", "var")
    return net


def anchors() -> Writer:
    net = Writer()
    net.feed("x", (-1, 8, 4, 5))
    _anchors(net, "x", (4, 5))
    net.fetch("anchors", "var")
    return net


def _anchors(net: Writer, over: str, size: tuple[int, int], sizes: tuple[float, ...] = (32.0, 64.0)) -> None:
    shape = (*size, 3 * len(sizes), 4)
    net.variable("anchors", shape), net.variable("var", shape)
    net.op(
        "anchor_generator",
        {"Input": over},
        {"Anchors": "anchors", "Variances": "var"},
        anchor_sizes=list(sizes),
        aspect_ratios=[0.5, 1.0, 2.0],
        stride=[16.0, 16.0],
        variances=[1.0, 1.0, 1.0, 1.0],
        offset=0.5,
    )


def coder(*, normalized: bool, axis: int, given: bool) -> Writer:
    net = Writer(seed=1)
    low = net.random.uniform(0, 50, (7, 2))
    net.feed("deltas", (-1, 7, 4) if axis == 0 else (7, 5, 4))
    net.weight("priors", np.concatenate([low, low + net.random.uniform(1, 30, (7, 2))], 1).astype(np.float32))
    net.variable("boxes", (-1, 7, 4))
    inputs, attributes = {"PriorBox": "priors", "TargetBox": "deltas"}, {}
    if given:
        inputs["PriorBoxVar"] = net.weight("var", net.random.uniform(0.1, 0.3, (7, 4)).astype(np.float32))
    else:
        attributes["variance"] = VARIANCES
    net.op(
        "box_coder",
        inputs,
        {"OutputBox": "boxes"},
        code_type="decode_center_size",
        box_normalized=normalized,
        axis=axis,
        **attributes,
    )
    net.fetch("boxes")
    return net


def suppression(kind: str, *, normalized: bool, background: int, keep: int, top: int, score: float = 0.2) -> Writer:
    """Single-stage: offsets to priors and scores [image, class, prior]."""
    net, count, classes = Writer(seed=1), 24, 4
    net.feed("deltas", (-1, count, 4)), net.feed("logits", (-1, classes, count))
    low = net.random.uniform(0, 50, (count, 2))
    net.weight("priors", np.concatenate([low, low + net.random.uniform(10, 30, (count, 2))], 1).astype(np.float32))
    net.variable("boxes", (-1, count, 4))
    net.op(
        "box_coder",
        {"PriorBox": "priors", "TargetBox": "deltas"},
        {"OutputBox": "boxes"},
        variance=VARIANCES,
        code_type="decode_center_size",
        box_normalized=normalized,
        axis=0,
    )
    net.one("softmax", {"X": "logits"}, "scores", (-1, classes, count), axis=1)
    _nms(net, kind, "boxes", "scores", normalized=normalized, background=background, keep=keep, top=top, score=score)
    return net


def _nms(
    net: Writer,
    kind: str,
    boxes: str,
    scores: str,
    *,
    normalized: bool,
    background: int,
    keep: int,
    top: int,
    score: float,
    regions: str = "",
) -> None:
    outputs = {"Out": net.variable("rows", (-1, 6), lod=1)}
    if kind != "multiclass_nms":
        outputs["Index"] = net.variable("index", (-1, 1), "int32")
    if kind == "multiclass_nms3":
        outputs["NmsRoisNum"] = net.variable("number", (-1,), "int32")
    inputs = {"BBoxes": boxes, "Scores": scores} | ({"RoisNum": regions} if regions else {})
    net.op(
        kind,
        inputs,
        outputs,
        background_label=background,
        score_threshold=score,
        nms_top_k=top,
        nms_threshold=0.4,
        nms_eta=1.0,
        keep_top_k=keep,
        normalized=normalized,
    )
    net.fetch(*outputs.values())


def _proposals(net: Writer, *, pixels: bool, before: int, after: int) -> None:
    net.feed("logits", (-1, 3, 5, 6)), net.feed("deltas", (-1, 12, 5, 6)), net.feed("size", (-1, 2))
    net.one("sigmoid", {"X": "logits"}, "scores", (-1, 3, 5, 6))
    net.one("scale", {"X": "deltas"}, "moves", (-1, 12, 5, 6), scale=0.5, bias=0.0, bias_after_scale=True)
    net.one("scale", {"X": "size"}, "image", (-1, 2), scale=0.0, bias=80.0, bias_after_scale=True)
    _anchors(net, "scores", (5, 6), (32.0,))
    outputs = {
        "RpnRois": net.variable("rois", (-1, 4), lod=1),
        "RpnRoiProbs": net.variable("probs", (-1, 1), lod=1),
        "RpnRoisNum": net.variable("number_of_rois", (-1,), "int32"),
    }
    inputs = {"Scores": "scores", "BboxDeltas": "moves", "ImShape": "image", "Anchors": "anchors", "Variances": "var"}
    net.op(
        "generate_proposals_v2",
        inputs,
        outputs,
        pre_nms_topN=before,
        post_nms_topN=after,
        nms_thresh=0.5,
        min_size=4.0,
        eta=1.0,
        pixel_offset=pixels,
    )


def proposals(*, pixels: bool, before: int, after: int) -> Writer:
    net = Writer()
    _proposals(net, pixels=pixels, before=before, after=after)
    net.fetch("rois", "probs", "number_of_rois")
    return net


def two_stages(*, pixels: bool, before: int, after: int, ratio: int) -> Writer:
    """Proposals, a pyramid of three levels, a head, and suppression of regions with boxes of their own per class."""
    net, classes = Writer(), 4
    _proposals(net, pixels=pixels, before=before, after=after)
    levels = (2, 3, 4)
    for level in levels:
        net.variable(f"rois_{level}", (-1, 4), lod=1), net.variable(f"number_{level}", (-1,), "int32")
    net.variable("restore", (-1, 1), "int32")
    net.op(
        "distribute_fpn_proposals",
        {"FpnRois": "rois", "RoisNum": "number_of_rois"},
        {
            "MultiFpnRois": [f"rois_{level}" for level in levels],
            "RestoreIndex": "restore",
            "MultiLevelRoIsNum": [f"number_{level}" for level in levels],
        },
        min_level=2,
        max_level=4,
        refer_level=3,
        refer_scale=40,
        pixel_offset=pixels,
    )
    for level, size in zip(levels, (16, 8, 4), strict=True):
        net.feed(f"feature_{level}", (-1, 6, size, size)), net.variable(f"pooled_{level}", (-1, 6, 3, 3))
        net.op(
            "roi_align",
            {"X": f"feature_{level}", "ROIs": f"rois_{level}", "RoisNum": f"number_{level}"},
            {"Out": f"pooled_{level}"},
            pooled_height=3,
            pooled_width=3,
            spatial_scale=size / 80,
            sampling_ratio=ratio,
            aligned=ratio > 0,
        )
    net.one("concat", {"X": [f"pooled_{level}" for level in levels]}, "pooled", (-1, 6, 3, 3), axis=0)
    net.one("gather", {"X": "pooled", "Index": "restore"}, "ordered", (-1, 6, 3, 3), overwrite=True, axis=0)
    _reshape(net, "ordered", "flat", [-1, 54])
    net.normal("w_class", 54, classes, scale=0.5), net.normal("w_box", 54, 4 * classes, scale=0.1)
    for weight, name, width in (("w_class", "logits_of_rois", classes), ("w_box", "moves_of_rois", 4 * classes)):
        net.one("matmul_v2", {"X": "flat", "Y": weight}, name, (-1, width), trans_x=False, trans_y=False)
    net.one("softmax", {"X": "logits_of_rois"}, "scores_of_rois", (-1, classes), axis=-1)
    _reshape(net, "moves_of_rois", "moves_per_class", [-1, classes, 4])
    net.variable("boxes", (-1, classes, 4))
    net.op(
        "box_coder",
        {"PriorBox": "rois", "TargetBox": "moves_per_class"},
        {"OutputBox": "boxes"},
        axis=1,
        code_type="decode_center_size",
        box_normalized=False,
        variance=VARIANCES,
    )
    _nms(
        net,
        "multiclass_nms3",
        "boxes",
        "scores_of_rois",
        normalized=False,
        background=0,
        keep=30,
        top=100,
        score=0.05,
        regions="number_of_rois",
    )
    return net


def pooled_regions() -> Writer:
    net = Writer(seed=2)
    net.feed("x", (-1, 4, 9, 9))
    low = net.random.uniform(0, 60, (6, 2))
    net.weight("rois", np.concatenate([low, low + net.random.uniform(5, 60, (6, 2))], 1).astype(np.float32))
    net.weight("number", np.array([3, 3], np.int32))
    outputs = {"Out": net.variable("y", (-1, 4, 3, 3)), "Argmax": net.variable("places", (-1, 4, 3, 3), "int64")}
    net.op(
        "roi_pool",
        {"X": "x", "ROIs": "rois", "RoisNum": "number"},
        outputs,
        pooled_height=3,
        pooled_width=3,
        spatial_scale=0.125,
    )
    net.fetch("y")
    return net


def _reshape(net: Writer, x: str, out: str, shape: list[int]) -> None:
    outputs = {"Out": net.variable(out, tuple(shape)), "XShape": net.variable(f"{out}_x", tuple(shape))}
    net.op("reshape2", {"X": x}, outputs, shape=shape)


CASES: Mapping[str, Callable[[], Writer]] = {
    "lrn": lrn,
    "softplus": softplus,
    "shuffle_channel": shuffle_channel,
    "maxout": maxout,
    "prior_box-flip-clip": lambda: priors(flip=True, clip=True, max_sizes=[9.0, 14.5]),
    "prior_box-order-steps": lambda: priors(
        step_w=7.0, step_h=8.0, min_max_aspect_ratios_order=True, max_sizes=[9.0, 14.5]
    ),
    "prior_box-no-largest": lambda: priors(flip=True, offset=0.3),
    "anchor_generator": anchors,
    "box_coder-given": lambda: coder(normalized=True, axis=0, given=True),
    "box_coder-pixels": lambda: coder(normalized=False, axis=0, given=False),
    "box_coder-axis": lambda: coder(normalized=False, axis=1, given=False),
    "box_coder-axis-given": lambda: coder(normalized=True, axis=1, given=True),
    "multiclass_nms": lambda: suppression("multiclass_nms", normalized=True, background=0, keep=20, top=15),
    "multiclass_nms2": lambda: suppression("multiclass_nms2", normalized=True, background=0, keep=20, top=15),
    "multiclass_nms3": lambda: suppression("multiclass_nms3", normalized=True, background=0, keep=20, top=-1),
    "multiclass_nms3-pixels": lambda: suppression("multiclass_nms3", normalized=False, background=-1, keep=10, top=8),
    "multiclass_nms3-nothing": lambda: suppression(
        "multiclass_nms3", normalized=True, background=0, keep=5, top=-1, score=0.999
    ),
    "roi_pool": pooled_regions,
    "generate_proposals": lambda: proposals(pixels=True, before=60, after=12),
    "generate_proposals-all": lambda: proposals(pixels=False, before=6000, after=40),
    "two-stages": lambda: two_stages(pixels=True, before=60, after=12, ratio=-1),
    "two-stages-aligned": lambda: two_stages(pixels=False, before=6000, after=40, ratio=2),
}


def main(python: Path) -> None:
    from trtconv.core.events import ignore
    from trtconv.core.records import SourceSpec
    from trtconv.data import draws
    from trtconv.sources.paddle import to_onnx
    from trtconv.sources.records import Wanted

    RECORDED.mkdir(parents=True, exist_ok=True)
    for name, make in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = make().save(Path(folder))
            made = to_onnx.to_onnx(Wanted(SourceSpec(path, python=python), (), (), 17, Path(folder)), ignore)
            model = made.source()
            given = draws.draw(model.inputs, "ordinary")
            found = model.run(given)
        np.savez_compressed(
            RECORDED / f"{name}.npz",
            **{f"in.{key}": array for key, array in given.items()},
            **{f"out.{key}": array for key, array in found.items()},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

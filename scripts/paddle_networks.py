#!/usr/bin/env python3
"""Paddle networks with seeded weights, for the source zoo: run by an interpreter that has Paddle 3.2.

    python scripts/paddle_networks.py NAME FOLDER

leaves the model in FOLDER (``model.pdmodel`` or ``model.json``, ``model.pdiparams``), ``observed.npz`` with two images
and what Paddle makes of them, and ``facts.json``. Architectures are those of paddle.vision.models, or written here from
their papers; detectors are narrow and get small images.
"""

# Paddle reads the text of forward: zip takes no strict there. Its parameters are tensors [B, C, H, W].
# ruff: noqa: B905, D102

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GLOG_minloglevel", "2")

import numpy as np
import paddle
import paddle.nn.functional as F  # noqa: N812
from paddle import nn
from paddle.vision import models, ops

CLASSES = 21
KEPT = 200


class ConvNorm(nn.Sequential):
    """Convolution, batch normalization, and an activation."""

    def __init__(self, inside: int, out: int, size: int, stride: int = 1, groups: int = 1, act: Any = nn.ReLU) -> None:
        convolution = nn.Conv2D(inside, out, size, stride, size // 2, groups=groups, bias_attr=False)
        super().__init__(convolution, nn.BatchNorm2D(out), *([act()] if act else []))


class Squeeze(nn.Layer):
    """Squeeze and excitation (arXiv 1709.01507)."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.down, self.up = nn.Linear(width, width // reduction), nn.Linear(width // reduction, width)

    def forward(self, x: Any) -> Any:
        scale = F.sigmoid(self.up(F.relu(self.down(paddle.flatten(self.pool(x), 1)))))
        return x * paddle.unsqueeze(scale, [2, 3])


class Excited(nn.Layer):
    """A residual block of SE-ResNeXt: 32 groups."""

    def __init__(self, inside: int, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(inside, width, 1),
            ConvNorm(width, width, 3, stride, groups=32),
            ConvNorm(width, out, 1, act=None),
            Squeeze(out),
        )
        self.short = None if inside == out and stride == 1 else ConvNorm(inside, out, 1, stride, act=None)

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + (x if self.short is None else self.short(x)))


class SEResNeXt50(nn.Layer):
    """SE-ResNeXt-50 32x4d."""

    def __init__(self) -> None:
        super().__init__()
        blocks, inside = [], 64
        for stage, count in enumerate((3, 4, 6, 3)):
            width = 128 << stage
            for place in range(count):
                blocks.append(Excited(inside, width, 2 * width, 2 if stage and not place else 1))
                inside = 2 * width
        self.features = nn.Sequential(ConvNorm(3, 64, 7, 2), nn.MaxPool2D(3, 2, 1), *blocks, nn.AdaptiveAvgPool2D(1))
        self.classify = nn.Linear(2048, 1000)

    def forward(self, x: Any) -> Any:
        return self.classify(paddle.flatten(self.features(x), 1))


class DualPath(nn.Layer):
    """A block of DPN (arXiv 1707.01629): one part is added, the other concatenated."""

    def __init__(self, inside: int, width: int, added: int, grown: int, stride: int, *, first: bool) -> None:
        super().__init__()
        self.added, self.first = added, first
        self.project = ConvNorm(inside, added + 2 * grown, 1, stride) if first else None
        self.body = nn.Sequential(
            ConvNorm(inside, width, 1), ConvNorm(width, width, 3, stride, groups=32), ConvNorm(width, added + grown, 1)
        )

    def forward(self, x: Any) -> Any:
        short = self.project(x) if self.project is not None else x
        made = self.body(x)
        total = short[:, : self.added] + made[:, : self.added]
        return paddle.concat([total, short[:, self.added :], made[:, self.added :]], axis=1)


class DPN68(nn.Layer):
    """DPN-68."""

    def __init__(self) -> None:
        super().__init__()
        blocks, inside = [], 10
        for stage, (count, added, grown) in enumerate(((3, 64, 16), (4, 128, 32), (12, 256, 32), (3, 512, 64))):
            for place in range(count):
                stride = 2 if stage and not place else 1
                blocks.append(DualPath(inside, 128 << stage, added, grown, stride, first=not place))
                inside = added + 3 * grown if not place else inside + grown
        self.features = nn.Sequential(ConvNorm(3, 10, 3, 2), nn.MaxPool2D(3, 2, 1), *blocks, nn.AdaptiveAvgPool2D(1))
        self.classify = nn.Linear(inside, 1000)

    def forward(self, x: Any) -> Any:
        return self.classify(paddle.flatten(self.features(x), 1))


class ICNet(nn.Layer):
    """An image cascade (arXiv 1704.08545): three resolutions, fused from the coarsest on; half of its width."""

    def __init__(self) -> None:
        super().__init__()
        self.high = nn.Sequential(ConvNorm(3, 16, 3, 2), ConvNorm(16, 16, 3, 2), ConvNorm(16, 32, 3, 2))
        self.middle = nn.Sequential(
            ConvNorm(3, 16, 3, 2), ConvNorm(16, 32, 3, 2), nn.MaxPool2D(3, 2, 1), ConvNorm(32, 64, 3)
        )
        self.low = nn.Sequential(ConvNorm(64, 64, 3, 2), *(Dilated(64, 2) for _ in range(2)), Dilated(64, 4))
        self.fuse = nn.LayerList([Fusion(64, 64, 64), Fusion(64, 32, 64)])
        self.classify = nn.Conv2D(64, CLASSES, 1)

    def forward(self, x: Any) -> Any:
        middle = self.middle(F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True))
        low = self.low(middle)
        pooled = [
            F.interpolate(F.adaptive_avg_pool2d(low, bins), low.shape[2:], mode="bilinear", align_corners=True)
            for bins in (1, 2, 4)
        ]
        fused = self.fuse[1](self.fuse[0](low + sum(pooled[1:], pooled[0]), middle), self.high(x))
        fused = F.interpolate(fused, scale_factor=2, mode="bilinear", align_corners=True)
        return F.interpolate(self.classify(fused), scale_factor=4, mode="bilinear", align_corners=True)


class Dilated(nn.Layer):
    """A residual block with a dilated convolution."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2D(width, width, 3, padding=dilation, dilation=dilation, bias_attr=False)
        self.norm = nn.BatchNorm2D(width)

    def forward(self, x: Any) -> Any:
        return F.relu(x + self.norm(self.convolution(x)))


class Fusion(nn.Layer):
    """Cascade feature fusion: the coarse one twice as large, plus the fine one."""

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2D(coarse, out, 3, padding=2, dilation=2, bias_attr=False)
        self.norm, self.fine = nn.BatchNorm2D(out), ConvNorm(fine, out, 1, act=None)

    def forward(self, coarse: Any, fine: Any) -> Any:
        larger = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)
        return F.relu(self.norm(self.coarse(larger)) + self.fine(fine))


def suppressed(
    boxes: Any,
    scores: Any,
    *,
    background: int = -1,
    normalized: bool = True,
    regions: Any = None,
    overlap: float = 0.45,
) -> Any:
    """Rows of class, score, box, and how many there are of each image."""
    rows, _, number = paddle._C_ops.multiclass_nms3(
        boxes, scores, regions, 0.01, 200, KEPT, overlap, normalized, 1.0, background
    )
    return rows, number


class Scales(nn.Layer):
    """Separable convolutions of MobileNetV1, or plain ones of VGG, halving the image; features of the last levels.

    Args:
        widths: per halving.
        levels: how many of the last are given.
        separable: whether of MobileNet.
    """

    def __init__(self, widths: Sequence[int], levels: int, *, separable: bool) -> None:
        super().__init__()
        self.levels, self.widths, stages = levels, list(widths[-levels:]), []
        inside = 3
        for width in widths:
            if separable and inside > 3:
                stages.append(nn.Sequential(ConvNorm(inside, inside, 3, 2, groups=inside), ConvNorm(inside, width, 1)))
            elif separable:
                stages.append(ConvNorm(inside, width, 3, 2))
            else:
                stages.append(
                    nn.Sequential(
                        nn.Conv2D(inside, width, 3, padding=1),
                        nn.ReLU(),
                        nn.Conv2D(width, width, 3, padding=1),
                        nn.ReLU(),
                        nn.MaxPool2D(2, 2),
                    )
                )
            inside = width
        self.stages = nn.LayerList(stages)

    def forward(self, x: Any) -> Any:
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found[-self.levels :]


class SSD(nn.Layer):
    """SSD (arXiv 1512.02325) on features of four levels, from the image to the boxes."""

    def __init__(self, widths: Sequence[int], *, separable: bool) -> None:
        super().__init__()
        self.backbone = Scales(widths, 4, separable=separable)
        self.sizes = [(16.0, 30.0), (30.0, 60.0), (60.0, 90.0), (90.0, 128.0)]
        self.box = nn.LayerList([nn.Conv2D(width, 4 * 6, 3, padding=1) for width in self.backbone.widths])
        self.score = nn.LayerList([nn.Conv2D(width, CLASSES * 6, 3, padding=1) for width in self.backbone.widths])

    def forward(self, image: Any) -> Any:
        priors, variances, moves, scores = [], [], [], []
        for place, x in enumerate(self.backbone(image)):
            least, most = self.sizes[place]
            found = ops.prior_box(x, image, [least], [most], [2.0, 3.0], flip=True, clip=True)
            priors.append(paddle.reshape(found[0], [-1, 4]))
            variances.append(paddle.reshape(found[1], [-1, 4]))
            moves.append(_rows(self.box[place](x), 4))
            scores.append(_rows(self.score[place](x), CLASSES))
        boxes = ops.box_coder(
            paddle.concat(priors), paddle.concat(variances), paddle.concat(moves, 1), "decode_center_size"
        )
        chances = F.softmax(paddle.concat(scores, 1), axis=-1)
        return suppressed(boxes, paddle.transpose(chances, [0, 2, 1]), background=0)


def _rows(x: Any, width: int) -> Any:
    """Per box, of all places of a feature map."""
    return paddle.reshape(paddle.transpose(x, [0, 2, 3, 1]), [x.shape[0], -1, width])


class YOLOv3(nn.Layer):
    """YOLOv3 (arXiv 1804.02767) on MobileNetV1 of a quarter of its width, from the image to the boxes."""

    anchors = ([10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326])

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Scales((8, 16, 32, 64, 128), 3, separable=True)
        self.neck = nn.LayerList([ConvNorm(128, 64, 1), ConvNorm(64 + 32, 32, 1), ConvNorm(32 + 16, 32, 1)])
        self.up = nn.LayerList([ConvNorm(64, 32, 1), ConvNorm(32, 16, 1)])
        self.head = nn.LayerList([nn.Conv2D(width, 3 * (5 + CLASSES), 1) for width in (64, 32, 32)])

    def forward(self, image: Any, size: Any) -> Any:
        features = self.backbone(image)[::-1]
        boxes, scores, above = [], [], None
        for place, feature in enumerate(features):
            if above is not None:
                larger = F.interpolate(self.up[place - 1](above), scale_factor=2, mode="nearest")
                feature = paddle.concat([larger, feature], axis=1)
            above = self.neck[place](feature)
            box, score = ops.yolo_box(
                self.head[place](above), size, self.anchors[2 - place], CLASSES, 0.005, 32 >> place
            )
            boxes.append(box)
            scores.append(paddle.transpose(score, [0, 2, 1]))
        return suppressed(paddle.concat(boxes, 1), paddle.concat(scores, 2), normalized=False)


class Pyramid(nn.Layer):
    """A feature pyramid (arXiv 1612.03144) of three levels."""

    def __init__(self, widths: Sequence[int], out: int) -> None:
        super().__init__()
        self.side = nn.LayerList([nn.Conv2D(width, out, 1) for width in widths])
        self.smooth = nn.LayerList([nn.Conv2D(out, out, 3, padding=1) for _ in widths])

    def forward(self, features: Any) -> Any:
        made = [side(x) for side, x in zip(self.side, features)]
        for place in range(len(made) - 2, -1, -1):
            made[place] = made[place] + F.interpolate(made[place + 1], scale_factor=2, mode="nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, made)]


def anchors_of(x: Any, stride: int, size: float) -> Any:
    """Three anchors around every place, [H, W, 3, 4]."""
    height, width = x.shape[2:]
    ratios = np.array([0.5, 1.0, 2.0])
    half = np.stack([size / np.sqrt(ratios), size * np.sqrt(ratios)], 1) / 2
    centers = (np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[:, :, None] + 0.5) * stride
    return paddle.to_tensor(np.concatenate([centers - half, centers + half], -1).astype(np.float32))


class RCNN(nn.Layer):
    """Faster R-CNN with a feature pyramid, from the image to the boxes; Mask and Cascade R-CNN on request.

    Args:
        stages: heads that refine boxes in turn (arXiv 1712.00726).
        masks: whether there is a mask of every box (arXiv 1703.06870).
    """

    levels = ((2, 8), (3, 16), (4, 32))
    out = 32

    def __init__(self, stages: int = 1, *, masks: bool = False) -> None:
        super().__init__()
        self.backbone = Scales((8, 16, 24, 32, 48), 3, separable=True)
        self.pyramid = Pyramid(self.backbone.widths, self.out)
        self.shared = nn.Conv2D(self.out, self.out, 3, padding=1)
        self.objectness, self.delta = nn.Conv2D(self.out, 3, 1), nn.Conv2D(self.out, 12, 1)
        flat = self.out * 49
        self.heads = nn.LayerList([nn.Sequential(nn.Flatten(), nn.Linear(flat, 64), nn.ReLU()) for _ in range(stages)])
        self.score = nn.LayerList([nn.Linear(64, CLASSES) for _ in range(stages)])
        self.move = nn.LayerList([nn.Linear(64, 4 if stages > 1 else 4 * CLASSES) for _ in range(stages)])
        self.mask = (
            nn.Sequential(
                ConvNorm(self.out, 32, 3), nn.Conv2DTranspose(32, 32, 2, 2), nn.ReLU(), nn.Conv2D(32, CLASSES, 1)
            )
            if masks
            else None
        )

    def forward(self, image: Any, size: Any) -> Any:
        features = self.pyramid(self.backbone(image))
        rois, number = self.proposals(features, size)
        scores = []
        for place, head in enumerate(self.heads):
            hidden = head(self.pooled(features, rois, number, 7))
            scores.append(F.softmax(self.score[place](hidden), axis=-1))
            moves = self.move[place](hidden)
            if len(self.heads) == 1:
                moves = paddle.reshape(moves, [-1, CLASSES, 4])
                boxes = self.decoded(rois, moves)
            else:
                boxes = self.decoded(rois, paddle.reshape(moves, [-1, 1, 4]))
                rois = paddle.reshape(boxes, [-1, 4])
                boxes = paddle.tile(boxes, [1, CLASSES, 1])
        mean = sum(scores[1:], scores[0]) / len(scores)
        rows, found = suppressed(boxes, mean, background=0, normalized=False, regions=number, overlap=0.5)
        if self.mask is None:
            return rows, found
        pooled = self.pooled(features, rows[:, 2:], found, 7)
        masks = F.sigmoid(self.mask(pooled))
        chosen = F.one_hot(paddle.cast(rows[:, 0], "int64"), CLASSES)
        return rows, found, paddle.sum(masks * paddle.reshape(chosen, [-1, CLASSES, 1, 1]), axis=1)

    def proposals(self, features: Any, size: Any) -> Any:
        found, chances = [], []
        for (_, stride), x in zip(self.levels, features):
            hidden = F.relu(self.shared(x))
            anchors = anchors_of(x, stride, 4.0 * stride)
            rois, chance, _ = ops.generate_proposals(
                F.sigmoid(self.objectness(hidden)),
                self.delta(hidden),
                size,
                anchors,
                paddle.ones_like(anchors),
                200,
                40,
                0.7,
                1.0,
                1.0,
                False,
                True,
            )
            found.append(rois)
            chances.append(chance)
        merged = paddle.flatten(paddle.concat(chances))
        _, best = paddle.topk(merged, 50)
        return paddle.gather(paddle.concat(found), best), paddle.full([1], 50, "int32")

    def pooled(self, features: Any, rois: Any, number: Any, bins: int) -> Any:
        parts, restore, numbers = ops.distribute_fpn_proposals(rois, 2, 4, 3, 56, rois_num=number)
        made = [
            ops.roi_align(x, part, count, bins, 1 / stride, 2)
            for (_, stride), x, part, count in zip(self.levels, features, parts, numbers)
        ]
        return paddle.gather(paddle.concat(made), paddle.flatten(restore))

    def decoded(self, rois: Any, moves: Any) -> Any:
        return ops.box_coder(rois, [0.1, 0.1, 0.2, 0.2], moves, "decode_center_size", False, axis=1)


class RetinaNet(nn.Layer):
    """RetinaNet (arXiv 1708.02002): the best of each level, decoded and suppressed."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Scales((8, 16, 24, 32, 48), 3, separable=True)
        self.pyramid = Pyramid(self.backbone.widths, 32)
        self.score = nn.Sequential(ConvNorm(32, 32, 3), nn.Conv2D(32, 3 * CLASSES, 3, padding=1))
        self.move = nn.Sequential(ConvNorm(32, 32, 3), nn.Conv2D(32, 12, 3, padding=1))

    def forward(self, image: Any) -> Any:
        boxes, scores = [], []
        for x, stride in zip(self.pyramid(self.backbone(image)), (8, 16, 32)):
            chances = paddle.reshape(paddle.transpose(F.sigmoid(self.score(x)), [0, 2, 3, 1]), [-1, CLASSES])
            moves = paddle.reshape(paddle.transpose(self.move(x), [0, 2, 3, 1]), [-1, 4])
            _, best = paddle.topk(paddle.max(chances, axis=1), min(60, chances.shape[0]))
            anchors = paddle.reshape(anchors_of(x, stride, 4.0 * stride), [-1, 4])
            decoded = ops.box_coder(
                paddle.gather(anchors, best),
                [1.0, 1.0, 1.0, 1.0],
                paddle.unsqueeze(paddle.gather(moves, best), 1),
                "decode_center_size",
                False,
                axis=1,
            )
            boxes.append(paddle.reshape(decoded, [-1, 4]))
            scores.append(paddle.gather(chances, best))
        merged = paddle.transpose(paddle.concat(scores), [1, 0])
        return suppressed(paddle.unsqueeze(paddle.concat(boxes), 0), paddle.unsqueeze(merged, 0), normalized=False)


IMAGE = (3, 224, 224)
VGG = (16, 32, 48, 64, 96, 96)
MOBILE = (16, 32, 64, 96, 128, 128)

NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...], str, str]] = {
    "mobilenet_v1": (models.mobilenet_v1, IMAGE, "", "pdmodel"),
    "resnet50": (models.resnet50, IMAGE, "", "pdmodel"),
    "vgg16": (models.vgg16, IMAGE, "", "pdmodel"),
    "resnext50": (models.resnext50_32x4d, IMAGE, "", "pdmodel"),
    "alexnet": (models.alexnet, IMAGE, "", "pdmodel"),
    "se_resnext50": (SEResNeXt50, IMAGE, "", "json"),
    "googlenet": (models.googlenet, IMAGE, "", "pdmodel"),
    "dpn68": (DPN68, IMAGE, "", "pdmodel"),
    "inception_v3": (models.inception_v3, (3, 299, 299), "", "pdmodel"),
    "icnet": (ICNet, (3, 128, 128), "", "json"),
    "yolov3": (YOLOv3, (3, 128, 128), "int32", "json"),
    "ssd": (lambda: SSD(VGG, separable=False), (3, 128, 128), "", "json"),
    "mobilenet_ssd": (lambda: SSD(MOBILE, separable=True), (3, 128, 128), "", "json"),
    "faster_rcnn": (RCNN, (3, 128, 128), "float32", "json"),
    "mask_rcnn": (lambda: RCNN(masks=True), (3, 128, 128), "float32", "json"),
    "cascade_rcnn": (lambda: RCNN(3), (3, 128, 128), "float32", "json"),
    "retinanet": (RetinaNet, (3, 128, 128), "", "json"),
}
"""Per name: the network, its image, the type of the image's size where that is an input, and the form of the file."""

SINGLE = ("faster_rcnn", "mask_rcnn", "cascade_rcnn", "retinanet")
"""Networks that take one image at a time."""


def seed(network: Any) -> None:
    """Weights that keep values alive, and statistics that hide no error."""
    random = np.random.default_rng(0)
    for name, weight in network.state_dict().items():
        shape = weight.shape
        if name.endswith("_variance"):
            values = random.uniform(0.5, 1.5, shape)
        elif name.endswith("_mean"):
            values = random.uniform(-0.1, 0.1, shape)
        elif len(shape) >= 2:
            fan = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
            values = random.standard_normal(shape) * np.sqrt(2 / fan)
        elif name.endswith("bias"):
            values = random.standard_normal(shape) * 0.05
        else:
            values = random.uniform(0.5, 1.2, shape)
        weight.set_value(values.astype(str(weight.dtype).rpartition(".")[2]))


def save(name: str, folder: Path) -> Path:
    """Write the model; the path of its program."""
    make, image, size, form = NETWORKS[name]
    network = make()
    network.eval()
    seed(network)
    batch = 1 if name in SINGLE else None if not size else 1
    specs = [paddle.static.InputSpec([batch, *image], "float32", "image")]
    specs += [paddle.static.InputSpec([batch, 2], size, "size")] if size else []
    if form == "pdmodel":
        with paddle.pir_utils.OldIrGuard():
            paddle.jit.save(network, str(folder / "model"), input_spec=specs)
    else:
        paddle.jit.save(network, str(folder / "model"), input_spec=specs)
    return folder / f"model.{form}"


def observe(program: Path, name: str) -> None:
    """What Paddle's executor makes of images; rows of detectors are filled up as trtconv does."""
    import contextlib

    _, image, size, form = NETWORKS[name]
    random = np.random.default_rng(1)
    count = 1 if size or name in SINGLE else 2
    given = {"image": random.standard_normal((count, *image)).astype(np.float32)}
    if size:
        given["size"] = np.tile(np.array(image[1:]), (count, 1)).astype(size)
    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.pir_utils.OldIrGuard() if form == "pdmodel" else contextlib.nullcontext():
        loaded, feeds, fetches = paddle.static.load_inference_model(str(program.with_suffix("")), executor)
        found = executor.run(loaded, feed={key: given[key] for key in feeds}, fetch_list=fetches)
    names = [f"fetch_name_{place}" if form == "json" else fetch.name for place, fetch in enumerate(fetches)]
    outputs = dict(zip(names, map(np.array, found), strict=True))
    if form == "json" and len(found) > 1:
        outputs = filled(outputs, count)
    np.savez(
        program.with_name("observed.npz"),
        **{f"in.{key}": array for key, array in given.items()},
        **{f"out.{key}": array for key, array in outputs.items()},
    )
    facts = {"outputs": {key: list(array.shape) for key, array in outputs.items()}}
    program.with_name("facts.json").write_text(json.dumps(facts))


def filled(outputs: dict[str, Any], images: int) -> dict[str, Any]:
    """Outputs [image, row, ...] with KEPT rows: -1 in the rows behind the last, 0 in masks."""
    number = outputs["fetch_name_1"].ravel()
    made = {}
    for name, array in outputs.items():
        if name == "fetch_name_1":
            made[name] = array
            continue
        table = np.full((images, KEPT, *array.shape[1:]), -1 if name == "fetch_name_0" else 0, array.dtype)
        start = 0
        for image, count in enumerate(number):
            table[image, :count] = array[start : start + count]
            start += count
        made[name] = table
    return made


def main() -> None:
    """Make one model."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    observe(save(name, folder), name)


if __name__ == "__main__":
    main()

"""The Caffe rows of the source zoo: public networks with seeded weights or their own, and what they have no layers for.

The reference is OpenCV below 5, in this interpreter or in the one that OPENCV= names, and formulas for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import caffe_networks
import numpy as np
import source_zoo_formulas
from source_zoo_models import Made, Model, Tools, write_observed

from trtconv.core.records import SourceSpec
from trtconv.sources.caffe import net
from trtconv.sources.caffe.reference import CaffeNetwork

GB = 10**9
_SSD_HEADS = ("mbox_loc", "mbox_conf_flatten", "mbox_priorbox")


def network(
    text: Callable[[Tools], str],
    outputs: Sequence[str] = (),
    shapes: Sequence[str] = (),
    weights: str = "",
    images: int = 1,
    cut: str = "",
    louder: str = "",
) -> Callable[[Path, Tools], Made]:
    """How a network is made.

    Args:
        text: (tools) -> its prototxt.
        outputs: blobs to convert to; empty: its own.
        shapes: of inputs, as ``--input`` takes them.
        weights: its own, among the files of others; empty: from a seed.
        images: samples to compare on.
        cut: what was left out.
        louder: a layer whose weights are four times as large, so that its scores differ.
    """

    def make(folder: Path, tools: Tools) -> Made:
        python = tools.python("opencv", "cv2")
        prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
        prototxt.write_text(text(tools))
        sizes = {name: tuple(map(int, dims.split(","))) for name, _, dims in (one.partition(":") for one in shapes)}
        if weights:
            caffemodel.write_bytes(tools.file(weights).read_bytes())
        else:
            arrays = caffe_networks.seeded(prototxt, sizes)
            for name, values in arrays.items():
                if louder and name.endswith(louder):
                    values[0] = 4 * values[0]
            caffemodel.write_bytes(caffe_networks.caffemodel(arrays))
        spec = SourceSpec(prototxt, weights=caffemodel, python=Path(python))
        observed = observe(spec, folder, images, outputs, sizes)
        named = [part for name in outputs for part in ("--output-name", name)]
        given = [part for shape in shapes for part in ("--input", shape)]
        arguments = [str(prototxt), "--weights", str(caffemodel), "--python", python, *given, *named]
        return Made(arguments, _layers(prototxt), observed, cut=cut)

    return make


def _layers(prototxt: Path) -> int:
    return len(net.read(prototxt).layers)


def observe(
    spec: SourceSpec, folder: Path, images: int, outputs: Sequence[str], sizes: Mapping[str, Any]
) -> list[Path]:
    """Run a network through OpenCV."""
    source, files = CaffeNetwork(spec, outputs), []
    for seed in range(images):
        random = np.random.default_rng([11, seed])
        feeds = {info.name: _smooth(random, sizes.get(info.name, info.shape)) for info in source.inputs}
        files.append(write_observed(folder / f"observed-{seed:02}.npz", feeds, source.run(feeds)))
    source.close()
    return files


def _smooth(random: np.random.Generator, shape: Any) -> np.ndarray:
    """Noise, and where there is room for it, patches of one colour as images have them."""
    noise = random.standard_normal(shape)
    if len(shape) == 4 and min(shape[2:]) >= 32:
        coarse = random.standard_normal((*shape[:2], shape[2] // 16 + 1, shape[3] // 16 + 1))
        noise = 0.3 * noise + coarse.repeat(16, 2).repeat(16, 3)[:, :, : shape[2], : shape[3]]
    return noise.astype(np.float32)


def of_file(name: str) -> Callable[[Tools], str]:
    """A prototxt that others wrote."""
    return lambda tools: tools.file(f"caffe/{name}.prototxt").read_text()


def every_layer(_: Tools) -> str:
    """A network of those layers that the others lack and OpenCV computes as Caffe does, each with an output."""
    layer = caffe_networks.layer
    text = caffe_networks.head("layers", 2, 6, 12, 14)
    single = {
        "elu": ("ELU", "elu_param { alpha: 0.5 }"),
        "sigmoid": ("Sigmoid", ""),
        "tanh": ("TanH", ""),
        "abs": ("AbsVal", ""),
        "bnll": ("BNLL", ""),
        "power": ("Power", "power_param { power: 2 scale: 0.5 shift: 1 }"),
        "exp": ("Exp", "exp_param { base: 2 scale: 0.5 }"),
        "relu6": ("ReLU6", ""),
        "leaky": ("ReLU", "relu_param { negative_slope: 0.1 }"),
        "within": ("LRN", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"),
        "mvn": ("MVN", ""),
        "norm": ("Normalize", "norm_param { across_spatial: false channel_shared: false }"),
        "interp": ("Interp", "interp_param { height: 17 width: 13 }"),
        "zoom": ("Interp", "interp_param { zoom_factor: 2 }"),
        "shuffle": ("ShuffleChannel", "shuffle_channel_param { group: 3 }"),
        "swish": ("Swish", ""),
        "depthwise": ("DepthwiseConvolution", "convolution_param { num_output: 6 kernel_size: 3 pad: 1 }"),
        "average": ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
        "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }"),
        "permute": ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
        "rows": ("InnerProduct", "inner_product_param { num_output: 5 axis: -1 }"),
        "up": ("Deconvolution", "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 }"),
        "scaled": ("Scale", "scale_param { axis: 2 num_axes: 2 bias_term: true }"),
    }
    text += "".join(layer(kind, name, "data", name, parameters) for name, (kind, parameters) in single.items())
    text += layer("Slice", "slice", "data", "a b c", "slice_param { slice_point: 1 slice_point: 4 }")
    text += layer("Eltwise", "max", "sigmoid tanh", "max", "eltwise_param { operation: MAX }")
    text += layer("Eltwise", "mix", "sigmoid tanh abs", "mix", "eltwise_param { coeff: 1 coeff: -0.5 coeff: 2 }")
    return text + layer("Eltwise", "product", "exp bnll", "product", "eltwise_param { operation: PROD }")


def generated(text: Callable[[], str]) -> Callable[[Tools], str]:
    """A prototxt that is written here."""
    return lambda _: text()


MODELS = {
    "lenet": Model(network(of_file("lenet"), ["ip2", "prob"])),
    "lenet_train_test": Model(network(of_file("lenet_train_test"), shapes=["data:2,1,28,28"])),
    "alexnet": Model(network(of_file("bvlc_alexnet"), ["fc8", "prob"])),
    "googlenet": Model(network(of_file("bvlc_googlenet"), ["loss3/classifier", "prob"])),
    "squeezenet": Model(network(generated(caffe_networks.squeezenet), ["pool10", "prob"])),
    "resnet50_caffe": Model(network(of_file("resnet50"), ["fc1000", "prob"]), bound=1e-4, memory=GB),
    "vgg16_caffe": Model(network(generated(caffe_networks.vgg16), ["fc8", "prob"]), memory=5 * GB // 2),
    "mobilenet_ssd_heads": Model(network(of_file("mobilenet_ssd"), _SSD_HEADS, cut="before DetectionOutput")),
    "mobilenet_ssd_caffe": Model(
        network(of_file("mobilenet_ssd"), images=20, louder="mbox_conf"), bound=1e-3, absolute=True
    ),
    "mtcnn_det1": Model(network(of_file("mtcnn_det1"), weights="caffe/mtcnn_det1.caffemodel")),
    # an image of this size is convolved by Winograd's algorithm in OpenCV, which rounds more
    "mtcnn_det1_large": Model(
        network(of_file("mtcnn_det1"), weights="caffe/mtcnn_det1.caffemodel", shapes=["data:1,3,240,320"]), bound=1e-4
    ),
    "mtcnn_det2": Model(network(of_file("mtcnn_det2"), weights="caffe/mtcnn_det2.caffemodel")),
    "mtcnn_det3": Model(network(of_file("mtcnn_det3"))),
    "dilated_fcn": Model(network(generated(caffe_networks.dilated_fcn))),
    "prelu_net": Model(network(generated(caffe_networks.prelu_net))),
    "every_layer": Model(network(every_layer)),
    "every_layer_formulas": Model(source_zoo_formulas.layers),
    "caffe_regions": Model(source_zoo_formulas.regions, unsupported="MaxRoiPool"),
}

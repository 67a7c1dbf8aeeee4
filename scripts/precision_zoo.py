#!/usr/bin/env python3
"""One table of every precision on many networks: what is lowered, how close it stays to FP32, whether it builds.

Two networks are really trained, on scikit-learn's digits: the residual network of ``train_digits.py`` and a small
vision transformer. The others have seeded weights, and batch-norm statistics set by running data through them, so that
activations are sane. Each network goes through the stages as a job would take it: freeze, convert, calibrate, lower,
build for compute capability 8.6 and 8.9.

    python scripts/precision_zoo.py [NETWORK ...] [--compare] [--markdown FILE]

``--compare`` adds onnxruntime.quantization on the trained networks, with the settings that TensorRT can read.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "build" / "precision-zoo"
METHODS = ("entropy", "minmax", "percentile", "mse")
TARGETS = ("sm86", "sm89")
HEADER = ("network", "precision", "FP32 kept", "Q/DQ", "SNR dB", "top-1 %", "s", "MB", *TARGETS)


@dataclass(frozen=True)
class Network:
    """A row of the zoo.

    Attributes:
        make: writes ``saved_model`` (or ``model.onnx``), ``calibration.npz`` and ``heldout.npz`` into a folder.
        trained: whether it has labels that mean something.
    """

    make: Callable[[Path], None]
    trained: bool = False


def digits(folder: Path) -> None:
    """The residual network of train_digits.py."""
    import train_digits

    train, held_out = train_digits.split()
    train_digits.save(folder, train_digits.fit(train, epochs=train_digits.EPOCHS), train[0], held_out)


def vision_transformer(folder: Path) -> None:
    """Four encoder blocks over the 16 patches of 2x2 pixels of a digit."""
    import keras
    import train_digits
    from keras import layers

    def network() -> Any:
        image = layers.Input((8, 8, 1), name="image")
        patches = layers.Reshape((16, 64))(layers.Conv2D(64, 2, strides=2)(image))
        x = layers.Add()([patches, _Positions(name="positions")(patches)])
        for _ in range(4):
            x = _encoder(x, width=64, heads=4)
        x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-5)(x))
        return keras.Model(image, layers.Dense(10, name="logits")(x))

    class _Positions(layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(1, 16, 64), initializer="normal", name="table")

        def call(self, x: Any) -> Any:
            return self.table + 0 * x[:1]

    original = train_digits.network
    train_digits.network = network
    try:
        train, held_out = train_digits.split()
        train_digits.PEAK_RATE = 2e-3
        train_digits.save(folder, train_digits.fit(train, epochs=30), train[0], held_out)
    finally:
        train_digits.network = original


def _encoder(x: Any, width: int, heads: int) -> Any:
    """A pre-norm block: attention written with plain layers, and a GELU of twice the width."""
    from keras import layers, ops

    normal = layers.LayerNormalization(epsilon=1e-5)(x)
    steps = x.shape[1]
    split = [layers.Reshape((steps, heads, width // heads))(layers.Dense(width)(normal)) for _ in range(3)]
    query, key, value = (layers.Permute((2, 1, 3))(part) for part in split)
    scores = layers.Lambda(lambda qk: ops.matmul(qk[0], ops.transpose(qk[1], (0, 1, 3, 2))))([query, key])
    weights = layers.Softmax()(layers.Rescaling((width // heads) ** -0.5)(scores))
    mixed = layers.Lambda(lambda wv: ops.matmul(wv[0], wv[1]))([weights, value])
    x = layers.Add()([x, layers.Dense(width)(layers.Reshape((steps, width))(layers.Permute((2, 1, 3))(mixed)))])
    hidden = layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization(epsilon=1e-5)(x))
    return layers.Add()([x, layers.Dense(width)(hidden)])


def application(name: str, size: int) -> Network:
    """A network of keras.applications with seeded weights."""

    def make(folder: Path) -> None:
        import keras

        keras.utils.set_random_seed(7)
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classifier_activation=None)
        images = _images(32, size)
        _settle(model, images)
        _save(model, folder, "image", images[:16], _images(16, size, seed=9))

    return Network(make)


def encoder(folder: Path) -> None:
    """Two transformer blocks of width 128 over 32 steps."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    steps = layers.Input((32, 128), name="steps")
    x = _encoder(_encoder(steps, 128, 8), 128, 8)
    model = keras.Model(steps, layers.Dense(64)(x))
    random = np.random.default_rng(7)
    _save(model, folder, "steps", *(random.normal(size=(n, 32, 128)).astype(np.float32) for n in (64, 32)))


def lstm(folder: Path) -> None:
    """Two LSTM layers of width 64 over 20 steps."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    steps = layers.Input((20, 32), name="steps")
    x = layers.LSTM(64)(layers.LSTM(64, return_sequences=True)(steps))
    model = keras.Model(steps, layers.Dense(32)(layers.Dense(64, activation="relu")(x)))
    random = np.random.default_rng(7)
    _save(model, folder, "steps", *(random.normal(size=(n, 20, 32)).astype(np.float32) for n in (64, 32)))


ZOO = {
    "digits": Network(digits, trained=True),
    "digits-vit": Network(vision_transformer, trained=True),
    "encoder": Network(encoder),
    "lstm": Network(lstm),
    "MobileNetV2": application("MobileNetV2", 96),
    "ResNet50": application("ResNet50", 96),
    "EfficientNetB0": application("EfficientNetB0", 96),
    "DenseNet121": application("DenseNet121", 96),
    "InceptionV3": application("InceptionV3", 139),
    "VGG16": application("VGG16", 96),
}


def _images(count: int, size: int, seed: int = 7) -> np.ndarray:
    """Smooth noise: squares of 8 pixels, and a little of every pixel's own."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, -(-size // 8), -(-size // 8), 3)).repeat(8, axis=1).repeat(8, axis=2)
    fine = random.normal(0, 0.2, (count, size, size, 3))
    return (coarse[:, :size, :size] + fine).astype(np.float32)


def _settle(model: Any, images: np.ndarray) -> None:
    """Set batch-norm statistics by running data through the network in training mode."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(8):
        model(images, training=True)


def _save(model: Any, folder: Path, name: str, calibration: np.ndarray, held_out: np.ndarray) -> None:
    import tensorflow as tf

    folder.mkdir(parents=True)

    @tf.function(input_signature=[tf.TensorSpec([None, *calibration.shape[1:]], tf.float32, name=name)])
    def serve(x: Any) -> Any:
        return {"logits": model(x, training=False)}

    tf.saved_model.save(model, str(folder / "saved_model"), signatures={"serving_default": serve})
    np.savez(folder / "calibration.npz", **{name: calibration})
    np.savez(folder / "heldout.npz", **{name: held_out})


def _aside(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """(result, seconds, peak MB) of a call in a fresh process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_timed, function, *arguments).result()


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    started = time.perf_counter()
    result = function(*arguments)
    status = Path("/proc/self/status").read_text()
    return result, time.perf_counter() - started, int(status.partition("VmHWM:")[2].split()[0]) / 1000


def prepare(name: str, folder: Path) -> None:
    """The network's FP32 ONNX model; made once."""
    if not (folder / "heldout.npz").exists():
        _aside(_make, name, folder)
    if not (folder / "model.onnx").exists():
        _aside(_convert, folder)


def _make(name: str, folder: Path) -> None:
    ZOO[name].make(folder)


def _convert(folder: Path) -> None:
    from trtconv.core.events import ignore
    from trtconv.core.records import SourceSpec
    from trtconv.stages.convert import ConvertRequest, convert
    from trtconv.stages.freeze import FreezeRequest, freeze

    frozen = folder / "frozen.pb"
    freeze(FreezeRequest(SourceSpec(folder / "saved_model", "saved_model"), frozen), ignore)
    convert(ConvertRequest(SourceSpec(frozen, "frozen_pb"), folder / "model.onnx"), ignore)


def _calibrate(folder: Path, method: str) -> None:
    from trtconv.core.events import ignore
    from trtconv.core.records import FeedSpec
    from trtconv.stages.calibrate import CalibrateRequest, calibrate

    feed = FeedSpec(folder / "calibration.npz")
    calibrate(CalibrateRequest(folder / "model.onnx", feed, folder / f"{method}.cache", method), ignore)


def _lower(folder: Path, precision: str, method: str, typed: Path) -> Any:
    from trtconv.core.events import ignore
    from trtconv.stages.lower import LowerRequest, lower

    return lower(LowerRequest(folder / "model.onnx", typed, precision, folder / f"{method}.cache"), ignore)


def _judge(folder: Path, typed: Path) -> Any:
    from trtconv.core.errors import NoKernel
    from trtconv.core.events import ignore
    from trtconv.core.records import FeedSpec
    from trtconv.stages.verify import VerifyRequest, verify

    labels = "labels" if "labels" in np.load(folder / "heldout.npz").files else ""
    feed = FeedSpec(folder / "heldout.npz", labels)
    try:
        return verify(VerifyRequest(folder / "model.onnx", "FP32", {"typed": typed}, feed, 16), ignore)
    except NoKernel as problem:
        return problem.message


def _verdict(typed: Path, precision: str, target: str) -> str:
    from trtconv.core.errors import TrtconvError
    from trtconv.core.events import ignore
    from trtconv.pipeline.capable import NEEDS
    from trtconv.stages.build import BuildRequest, build

    need = NEEDS.get(precision)
    if need and int(target.removeprefix("sm")) < need.capability:
        return f"needs {need.capability / 10}"
    engine = typed.with_suffix(f".{target}.engine")
    try:
        build(BuildRequest(typed, engine, precision, "rtx", targets=(target,)), ignore)
    except TrtconvError as error:
        return f"{type(error).__name__}: {error.message.splitlines()[0][:90]}"
    engine.unlink()
    return "ok"


def rows(name: str, folder: Path, precisions: list[tuple[str, str]]) -> Iterator[list[str]]:
    """One row per precision and method."""
    for precision, method in precisions:
        _, calibrating, peak = _aside(_calibrate, folder, method) if not (folder / f"{method}.cache").exists() else (
            None, 0.0, 0.0)  # fmt: skip
        label = f"{precision} {method}" if precision == "int8" else precision
        typed = folder / f"{label.replace(' ', '-')}.onnx"
        lowered, seconds, used = _aside(_lower, folder, precision, method, typed)
        verified, *_ = _aside(_judge, folder, typed)
        cells = [name, label, str(len(lowered.left_out)), str(lowered.qdq_pairs), *_figures(verified)]
        verdicts = [_aside(_verdict, typed, precision, target)[0] for target in TARGETS]
        yield [*cells, f"{calibrating + seconds:.1f}", f"{max(peak, used):.0f}", *verdicts]


def _figures(verified: Any) -> list[str]:
    verdict = None if isinstance(verified, str) else verified.verdicts[0]
    if verdict is None or verdict.skipped:
        return ["build only", "-"]
    worst = min(output.snr_db for output in verdict.outputs)
    top1 = "-" if verdict.top1 is None else f"{verdict.top1:.2f} ({verdict.top1 - verified.reference_top1:+.2f})"
    return [f"{worst:.1f}" + (" overflows" if verdict.overflows else ""), top1]


def compare(name: str, folder: Path) -> Iterator[list[str]]:
    """onnxruntime.quantization on the same samples: symmetric, per channel, weighted operators, no bias."""
    for method in ("MinMax", "Entropy", "Percentile"):
        typed = folder / f"onnxruntime-{method}.onnx"
        _, seconds, peak = _aside(_onnxruntime, folder, method, typed)
        yield [name, f"onnxruntime {method}", "-", str(_pairs(typed)), *_figures(_aside(_judge, folder, typed)[0]),
               f"{seconds:.1f}", f"{peak:.0f}", *(_aside(_verdict, typed, "int8", target)[0] for target in TARGETS)
               ]  # fmt: skip


def _onnxruntime(folder: Path, method: str, typed: Path) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    ((name, samples),) = np.load(folder / "calibration.npz").items()

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        batches = iter(np.split(samples, len(samples) // 16))  # its histograms take batches of one size only

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch}

    weighted = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
    quantize_static(
        str(folder / "model.onnx"), str(typed), Reader(), QuantFormat.QDQ, weighted, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method),
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
                       "CalibTensorRangeSymmetric": True, "OpTypesToExcludeOutputQuantization": weighted},
    )  # fmt: skip


def _pairs(typed: Path) -> int:
    import onnx

    return sum(node.op_type == "QuantizeLinear" for node in onnx.load(typed).graph.node)


def main() -> None:
    """Make what is missing, run everything, print as it comes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(ZOO)} (default: all)")
    parser.add_argument("--compare", action="store_true", help="add onnxruntime.quantization on the trained networks")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in ZOO]
    if unknown:
        parser.error(f"no network {unknown[0]!r}; there are {', '.join(ZOO)}")
    precisions = [("fp16", "minmax"), ("bf16", "minmax"), *(("int8", method) for method in METHODS), ("fp8", "minmax")]
    lines = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    print(f"{HEADER[0]:15} {HEADER[1]:22}" + "".join(f"{title:>15}" for title in HEADER[2:]))
    for name in options.networks or ZOO:
        folder = FOLDER / name
        prepare(name, folder)
        made = list(_show(rows(name, folder, precisions)))
        made += list(_show(compare(name, folder))) if options.compare and ZOO[name].trained else []
        lines += [" | ".join(row) for row in made]
    if options.markdown:
        options.markdown.write_text("\n".join(f"| {line} |" for line in lines) + "\n")


def _show(made: Iterator[list[str]]) -> Iterator[list[str]]:
    for row in made:
        print(f"{row[0]:15} {row[1]:22}" + "".join(f"{cell:>15}" for cell in row[2:]), flush=True)
        yield row


if __name__ == "__main__":
    main()

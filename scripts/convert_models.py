#!/usr/bin/env python3
"""The models of ``convert_zoo.py``: seeded, with what TensorFlow itself makes of seeded inputs.

    python scripts/convert_models.py NAME FOLDER

writes the source of one model into a folder, and ``observed.npz`` beside it: inputs as ``in.NAME``, and as
``out.NAME`` what the framework computed from them before anything was saved.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN adds in an order that depends on the machine

import numpy as np

SEED = 7
LEAST_SPREAD = 1e-3
"""How much outputs vary at least, over their largest value: where they are all alike, errors would not show."""


@dataclass(frozen=True)
class Model:
    """A row of the zoo.

    Attributes:
        form: what kind of source it is.
        make: writes source and ``observed.npz`` into a folder.
        source: path of the source in it.
        options: of ``trtconv convert``.
        shapes: of ``trtconv build``, where more than the batch is left open.
        bound: largest relative error allowed. Where the source computes in integers and ONNX in floating point, they
            differ by a step of the integers.
        unsupported: operator that TensorRT-RTX has no kernel for; empty: the engine has to build.
    """

    form: str
    make: Callable[[Path], None]
    source: str
    options: tuple[str, ...] = ()
    shapes: str = ""
    bound: float = 1e-4
    unsupported: str = ""


def application(name: str, form: str, source: str, size: int = 224) -> Model:
    """A network of keras.applications, batch-norm statistics set by running images through it."""

    def make(folder: Path) -> None:
        keras = _keras(form)
        image = keras.layers.Input((size, size, 3), name="image")
        model = getattr(keras.applications, name)(weights=None, input_tensor=image, classifier_activation=None)
        _settle(keras, model, _images(8, size, SEED))
        _finish(model, folder / source, {"image": _images(2, size, SEED + 1)})

    return Model(form, make, source)


def layered(
    network: Callable[[Any], tuple[Any, Mapping[str, np.ndarray]]], form: str, source: str, shapes: str = ""
) -> Model:
    """A model of Keras layers: ``network(keras)`` gives it, with inputs."""

    def make(folder: Path) -> None:
        model, given = network(_keras(form))
        _finish(model, folder / source, given)

    return Model(form, make, source, shapes=shapes)


def two_inputs(keras: Any) -> Any:
    """A picture and a vector, two outputs."""
    layers = keras.layers
    picture, facts = layers.Input((16, 16, 3), name="picture"), layers.Input((6,), name="facts")
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(picture))
    joined = layers.Dense(16, activation="swish")(layers.Concatenate()([seen, layers.Dense(8)(facts)]))
    model = keras.Model(
        {"picture": picture, "facts": facts}, {"kind": layers.Dense(5)(joined), "place": layers.Dense(4)(joined)}
    )
    return model, {"picture": _normal(3, 16, 16, 3), "facts": _normal(3, 6)}


def recurrent(layer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Two layers over 20 steps; the number of steps is left open."""

    def network(keras: Any) -> Any:
        steps = keras.layers.Input((None, 12), name="steps")
        first, second = layer(keras.layers)
        return keras.Model(steps, keras.layers.Dense(5, name="scores")(second(first(steps)))), {
            "steps": _normal(3, 20, 12)
        }

    return network


def masked(keras: Any) -> Any:
    """Token numbers of which 0 is padding."""
    layers = keras.layers
    tokens = layers.Input((12,), dtype="int32", name="tokens")
    x = layers.LSTM(24)(layers.Embedding(100, 16, mask_zero=True)(tokens))
    given = np.random.default_rng(SEED).integers(1, 100, (3, 12)).astype(np.int32)
    given[0, 4:] = given[1, 9:] = 0
    return keras.Model(tokens, layers.Dense(6, name="scores")(x)), {"tokens": given}


def attention(keras: Any) -> Any:
    """A transformer block: Keras' own multi-head attention, and the exact GELU."""
    layers = keras.layers
    steps = layers.Input((10, 32), name="steps")
    normal = layers.LayerNormalization()(steps)
    x = layers.Add()([steps, layers.MultiHeadAttention(4, 8)(normal, normal)])
    hidden = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(32)(hidden)])
    return keras.Model(steps, layers.Dense(7, name="scores")(x)), {"steps": _normal(3, 10, 32)}


def upsampling(keras: Any) -> Any:
    """Nearest, bilinear and learnt."""
    layers = keras.layers
    image = layers.Input((12, 10, 3), name="image")
    x = layers.UpSampling2D(2)(layers.Conv2D(8, 3, padding="same", activation="relu")(image))
    x = layers.UpSampling2D((3, 2), interpolation="bilinear")(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.Conv2DTranspose(6, 3, 2, padding="same")(x)
    return keras.Model(image, layers.Conv2D(2, 1, name="map")(x)), {"image": _normal(2, 12, 10, 3)}


def module(folder: Path) -> None:
    """A tf.Module with two signatures."""
    import tensorflow as tf

    class TwoWays(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weight = tf.Variable(_normal(16, 6))

        @tf.function(input_signature=[tf.TensorSpec([None, 16], name="x")])
        def encode(self, x: Any) -> Any:
            return {"code": tf.tanh(x @ self.weight)}

        @tf.function(input_signature=[tf.TensorSpec([None, 6], name="code")])
        def decode(self, code: Any) -> Any:
            return {"x": code @ tf.transpose(self.weight), "energy": tf.reduce_sum(code * code, axis=1)}

    ways = TwoWays()
    tf.saved_model.save(ways, str(folder / "saved_model"), signatures={"encode": ways.encode, "decode": ways.decode})
    x, code = _normal(3, 16), _normal(3, 6)
    _observe(folder / "encode.npz", {"x": x}, ways.encode(x))
    _observe(folder / "decode.npz", {"code": code}, ways.decode(code))


def one_way(name: str) -> Model:
    """One signature of the module."""

    def make(folder: Path) -> None:
        module(folder)
        (folder / f"{name}.npz").rename(folder / "observed.npz")

    return Model("SavedModel, tf.Module", make, "saved_model", ("--signature", name))


def suppression(folder: Path) -> None:
    """Boxes that overlap the best ones go."""
    import tensorflow as tf

    class Suppression(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([60, 4], name="boxes"), tf.TensorSpec([60], name="scores")])
        def call(self, boxes: Any, scores: Any) -> Any:
            chosen = tf.image.non_max_suppression(boxes, scores, 10, iou_threshold=0.4, score_threshold=0.2)
            return {"best": tf.gather(boxes, chosen), "chosen": chosen}

    random = np.random.default_rng(SEED)
    corners = random.uniform(0, 0.6, (60, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.1, 0.4, (60, 2))], axis=1).astype(np.float32)
    given = {"boxes": boxes, "scores": random.uniform(0, 1, 60).astype(np.float32)}
    found = Suppression()
    tf.saved_model.save(found, str(folder / "saved_model"), signatures=found.call)
    _observe(folder / "observed.npz", given, found.call(*given.values()))


def lenet(folder: Path) -> None:
    """TensorFlow 1's LeNet with its training graph, in the three forms that such models are left in."""
    import tensorflow as tf

    v1 = tf.compat.v1
    random = np.random.default_rng(SEED)

    def variable(*shape: int) -> Any:
        return v1.Variable(random.normal(0, 0.1, shape).astype(np.float32), use_resource=False)

    with tf.Graph().as_default() as graph, v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, 28, 28, 1], name="Placeholder")
        keep, labels = v1.placeholder(tf.float32, name="keep_prob"), v1.placeholder(tf.int64, [None], name="labels")
        x = tf.nn.relu(tf.nn.conv2d(image, variable(5, 5, 1, 20), 1, "VALID") + variable(20), name="conv1/Relu")
        x = tf.nn.max_pool2d(x, 2, 2, "SAME", name="pool1")
        x = tf.nn.relu(tf.nn.conv2d(x, variable(5, 5, 20, 50), 1, "VALID") + variable(50), name="conv2/Relu")
        x = tf.reshape(tf.nn.max_pool2d(x, 2, 2, "SAME", name="pool2"), [-1, 800])
        x = v1.nn.dropout(tf.nn.relu(x @ variable(800, 500) + variable(500), name="fc1/Relu"), keep_prob=keep)
        scores = tf.add(x @ variable(500, 10), variable(10), name="fc2/scores")
        v1.train.AdamOptimizer().minimize(v1.losses.sparse_softmax_cross_entropy(labels, scores))
        session.run(v1.global_variables_initializer())
        given = _normal(3, 28, 28, 1)
        made = session.run(scores, {image: given, keep: 1.0})
        v1.train.Saver().save(session, str(folder / "model.ckpt"))
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["fc2/scores"])
        (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
    _observe(folder / "observed.npz", {"Placeholder": given}, {"fc2/scores": made})
    _save_v1(folder)


def _save_v1(folder: Path) -> None:
    """The same by TensorFlow 1's builder of SavedModels, where exporters gave ``keep_prob`` a default."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        keep = v1.placeholder_with_default(1.0, [], name="keep")
        saver = v1.train.import_meta_graph(
            str(folder / "model.ckpt.meta"), clear_devices=True, input_map={"keep_prob:0": keep}
        )
        saver.restore(session, str(folder / "model.ckpt"))
        signature = v1.saved_model.predict_signature_def(
            *({name: graph.get_tensor_by_name(f"{name}:0")} for name in ("Placeholder", "fc2/scores"))
        )
        builder = v1.saved_model.Builder(str(folder / "saved_model"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


def flow(kind: str, version: int) -> Model:
    """``tf.cond`` or ``tf.while_loop`` of TensorFlow 1, written with control flow of version 1 or 2."""

    def make(folder: Path) -> None:
        import tensorflow as tf

        v1 = tf.compat.v1
        (v1.enable_control_flow_v2 if version == 2 else v1.disable_control_flow_v2)()
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None, 8], name="x")
            weight = v1.Variable(_normal(8, 8), use_resource=False)
            if kind == "cond":
                y = tf.cond(tf.reduce_sum(x) > 0, lambda: x @ weight, lambda: x - weight[0])
            else:
                _, y = tf.while_loop(lambda i, _: i < 4, lambda i, a: (i + 1, tf.tanh(a @ weight) + x), [0, x])
            y = tf.identity(y, name="out")
            session.run(v1.global_variables_initializer())
            given = _normal(3, 8)
            _observe(folder / "observed.npz", {"x": given}, {"out": session.run(y, {x: given})})
            v1.train.Saver().save(session, str(folder / "model.ckpt"))

    return Model(f"TF1 checkpoint, control flow v{version}", make, "model.ckpt", ("--output-name", "out"))


def lite(quantized: bool) -> Callable[[Path], None]:
    """A small convolutional network as a TensorFlow Lite file; the interpreter says what it computes."""

    def make(folder: Path) -> None:
        import keras
        import tensorflow as tf

        keras.utils.set_random_seed(SEED)
        layers = keras.layers
        image = layers.Input((24, 24, 3), batch_size=1, name="image")
        x = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(16, 3, 2, activation="relu")(image))
        x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(layers.ReLU(6.0)(x)))
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, layers.Dense(10)(x)))
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([_normal(1, 24, 24, 3, seed=s)] for s in range(16))
        path = folder / "model.tflite"
        path.write_bytes(converter.convert())
        reference = tf.lite.experimental.OpResolverType.BUILTIN_REF
        interpreter = tf.lite.Interpreter(str(path), experimental_op_resolver_type=reference)
        interpreter.allocate_tensors()
        (taken,), (given_back,) = interpreter.get_input_details(), interpreter.get_output_details()
        given = _normal(1, 24, 24, 3)
        interpreter.set_tensor(taken["index"], given)
        interpreter.invoke()
        _observe(
            folder / "observed.npz",
            {taken["name"]: given},
            {given_back["name"]: interpreter.get_tensor(given_back["index"])},
        )

    return make


KERAS_3, KERAS_2 = "Keras 3", "Keras 2"
_LAST_OF_A_BLOCK = "_3_bn"  # in the ResNets of keras.applications
_KEEP = ("--constant", "keep_prob=1.0")
_STEPS = "steps=1,5,12x4,20,12x8,40,12"
_SCORES = ("--output-name", "fc2/scores")
ZOO: Mapping[str, Model] = {
    "ResNet50": application("ResNet50", f"SavedModel, {KERAS_3}", "saved_model"),
    "ResNet101": application("ResNet101", f".keras, {KERAS_3}", "model.keras"),
    "MobileNet": application("MobileNet", f".h5, {KERAS_3}", "model.h5"),
    "MobileNetV2": application("MobileNetV2", f"SavedModel, {KERAS_2}", "saved_model"),
    "InceptionV3": application("InceptionV3", f".keras, {KERAS_2}", "model.keras", 299),
    "VGG16": application("VGG16", f"SavedModel, {KERAS_3}", "saved_model"),
    "DenseNet121": application("DenseNet121", f".h5, {KERAS_2}", "model.h5"),
    "EfficientNetB0": application("EfficientNetB0", f"SavedModel, {KERAS_3}", "saved_model"),
    "NASNetMobile": application("NASNetMobile", f".keras, {KERAS_3}", "model.keras"),
    "Xception": application("Xception", f".h5, {KERAS_3}", "model.h5", 299),
    "ConvNeXtTiny": application("ConvNeXtTiny", f"SavedModel, {KERAS_3}", "saved_model"),
    "two-inputs": layered(two_inputs, f".keras, {KERAS_3}", "model.keras"),
    "lstm": layered(
        recurrent(lambda k: (k.LSTM(32, return_sequences=True), k.LSTM(24))),
        f"SavedModel, {KERAS_3}",
        "saved_model",
        _STEPS,
    ),
    "gru": layered(
        recurrent(lambda k: (k.GRU(32, return_sequences=True), k.GRU(24))), f".keras, {KERAS_3}", "model.keras", _STEPS
    ),
    "bidirectional": layered(
        recurrent(lambda k: (k.Bidirectional(k.LSTM(16, return_sequences=True)), k.LSTM(24))),
        f".h5, {KERAS_2}",
        "model.h5",
        _STEPS,
    ),
    "embedding-mask": layered(masked, f"SavedModel, {KERAS_3}", "saved_model"),
    "attention-gelu": layered(attention, f".keras, {KERAS_3}", "model.keras"),
    "nms": Model("SavedModel, tf.Module", suppression, "saved_model", unsupported="NonMaxSuppression"),
    "upsampling": layered(upsampling, f"SavedModel, {KERAS_3}", "saved_model"),
    "lenet-saved": Model("SavedModel, TF1", lenet, "saved_model"),
    "lenet-checkpoint": Model("TF1 checkpoint", lenet, "model.ckpt", (*_SCORES, *_KEEP)),
    "lenet-frozen": Model("TF1 frozen graph", lenet, "frozen.pb", _KEEP),
    **{f"{kind}-v{version}": flow(kind, version) for kind in ("cond", "while") for version in (1, 2)},
    "module-encode": one_way("encode"),
    "module-decode": one_way("decode"),
    "tflite": Model("TensorFlow Lite", lite(quantized=False), "model.tflite"),
    "tflite-int8": Model("TensorFlow Lite, int8", lite(quantized=True), "model.tflite", bound=0.05),
}


def _keras(form: str) -> Any:
    """Keras of the generation that a form names, seeded."""
    if KERAS_2 in form:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tf_keras as keras
    else:
        import keras
    keras.utils.set_random_seed(SEED)
    return keras


def _normal(*shape: int, seed: int = SEED) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _images(count: int, size: int, seed: int) -> np.ndarray:
    """Pixels from 0 to 255: squares of 16 pixels, and a little of every pixel's own."""
    random = np.random.default_rng(seed)
    tiles = -(-size // 16)
    coarse = random.uniform(40, 215, (count, tiles, tiles, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return (coarse[:, :size, :size] + random.uniform(-40, 40, (count, size, size, 3))).astype(np.float32)


def _settle(keras: Any, model: Any, images: np.ndarray) -> None:
    """Let batch normalization take its statistics from images, so that activations are sane at any depth.

    The branches of residual blocks count a fifth, as recipes for training begin: a hundred random layers at full size
    blow rounding up to more than the bound.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.name.endswith(_LAST_OF_A_BLOCK):
                layer.gamma.assign(0.2 * np.ones(layer.gamma.shape, np.float32))
    model(images, training=True)


def _finish(model: Any, path: Path, given: Mapping[str, np.ndarray]) -> None:
    """Observe a model of Keras, and save it in the form that the path's ending tells."""
    ((_, first),) = given.items() if len(given) == 1 else ((None, dict(given)),)
    made = model(first, training=False)
    _observe(path.with_name("observed.npz"), given, made if isinstance(made, dict) else {"output": made})
    if path.suffix:
        model.save(path)
    elif hasattr(model, "export"):
        model.export(str(path))
    else:
        model.save(path, save_format="tf")


def _observe(path: Path, given: Mapping[str, np.ndarray], made: Mapping[str, Any]) -> None:
    outputs = {name: np.asarray(value) for name, value in made.items()}
    for name, values in outputs.items():
        if np.ptp(values) < LEAST_SPREAD * np.abs(values).max():
            raise SystemExit(f"{name} is the same everywhere: {values.min()} to {values.max()}")
    np.savez(path, **{f"in.{name}": a for name, a in given.items()}, **{f"out.{n}": a for n, a in outputs.items()})


def main() -> None:
    """Make one model."""
    name, folder = sys.argv[1:]
    ZOO[name].make(Path(folder))


if __name__ == "__main__":
    main()

"""Small seeded TensorFlow models, and a run of stages over them; executed in one child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trtconv.core.errors import TrtconvError
from trtconv.core.events import Emit
from trtconv.core.lazy import resolve


def make(folder: Path, _emit: Emit) -> None:
    """Write the models."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    for name, model in {"cnn": _cnn(keras), "two": _two(keras), "wave": _wave(keras), "wide": _wide(keras)}.items():
        model.save(folder / f"{name}.keras")
        model.export(folder / name, verbose=False)
    keras.Sequential([keras.layers.Input((4,)), keras.layers.Lambda(lambda x: x * 2)]).save(folder / "lambda.keras")
    module = _module(tf)
    tf.saved_model.save(
        module,
        str(folder / "module"),
        signatures={name: getattr(module, name) for name in ("up", "down", "count", "special", "text")},
    )
    odd, names = _odd(tf), ("complex", "rank", "bfloat16", "spectrum", "python", "nearest", "suppress", "compiled")
    tf.saved_model.save(odd, str(folder / "odd"), signatures={name: getattr(odd, name) for name in names})


def _cnn(keras: Any) -> Any:
    layers = keras.layers
    image = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(
        layers.BatchNormalization(
            beta_initializer="random_normal",
            gamma_initializer="random_uniform",
            moving_mean_initializer="random_normal",
        )(x)
    )
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same", activation="swish")(x)])
    x = layers.Dropout(0.5)(layers.Flatten()(layers.MaxPooling2D()(x)))
    return keras.Model(image, layers.Dense(10, bias_initializer="random_normal", name="logits")(x))


def _two(keras: Any) -> Any:
    """Two inputs, two outputs in a dictionary, the exact GELU; one output is called like an input."""
    layers = keras.layers
    left, right = layers.Input((4,), name="left"), layers.Input((6,), name="right")
    joined = layers.Concatenate()([layers.Dense(5, activation="gelu")(left), layers.Dense(3)(right)])
    outputs = {"sum": layers.Dense(2)(joined), "left": layers.Dense(3)(joined)}
    return keras.Model({"right": right, "left": left}, outputs)


def _wave(keras: Any) -> Any:
    """Two dynamic dimensions and a recurrent layer."""
    series = keras.layers.Input((None, 3), name="series")
    return keras.Model(series, keras.layers.Dense(2, name="end")(keras.layers.LSTM(4)(series)))


def _wide(keras: Any) -> Any:
    """Weights of which most are large enough to wait outside while the graph is converted."""
    layers = keras.layers
    image = layers.Input((8, 8, 32), name="image")
    x = layers.BatchNormalization(moving_mean_initializer="random_normal")(layers.Conv2D(64, 3)(image))
    x = layers.LSTM(64)(layers.Reshape((36, 64))(layers.ReLU()(x)))
    same = layers.Dense(128, kernel_initializer=keras.initializers.RandomNormal(seed=1))
    twin = layers.Dense(128, kernel_initializer=keras.initializers.RandomNormal(seed=1), activation="relu")
    return keras.Model(image, layers.Dense(10)(layers.Concatenate()([same(x), twin(x)])))


def _module(tf: Any) -> Any:
    import numpy as np

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weight = tf.Variable(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))
            self.calls = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def up(self, x):  # type: ignore[no-untyped-def]
            return {"x": x @ self.weight, "positive": tf.nn.relu(x)}

        @tf.function(input_signature=[tf.TensorSpec([None, 3], name="z")])
        def down(self, z):  # type: ignore[no-untyped-def]
            return {"back": z @ tf.transpose(self.weight)}

        @tf.function(input_signature=[tf.TensorSpec([None, 3], name="z")])
        def count(self, z):  # type: ignore[no-untyped-def]
            self.calls.assign_add(1.0)
            return {"times": z * self.calls}

        @tf.function(input_signature=[tf.TensorSpec([None, 3], name="z")])
        def special(self, z):  # type: ignore[no-untyped-def]
            return {"log1p": tf.math.log1p(z * z), "expm1": tf.math.expm1(z), "igamma": tf.math.igamma(1.5, z * z)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
        def text(self, words):  # type: ignore[no-untyped-def]
            return {"lengths": tf.strings.length(words)}

    return Module()


def _odd(tf: Any) -> Any:
    """Signatures with something about them that ONNX or the converter lacks, and one that it gets wrong alone."""
    import keras
    import numpy as np

    number = tf.TensorSpec([None, 4], name="x")
    alone = tf.function(lambda x: tf.nn.relu(x) + 1, experimental_attributes={"_noinline": True})

    class Odd(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.complex64, name="x")])
        def complex(self, x):  # type: ignore[no-untyped-def]
            return {"y": x * x}

        @tf.function(input_signature=[tf.TensorSpec(None, name="x")])
        def rank(self, x):  # type: ignore[no-untyped-def]
            return {"y": tf.nn.relu(x)}

        @tf.function(input_signature=[number])
        def bfloat16(self, x):  # type: ignore[no-untyped-def]
            return {"y": tf.cast(tf.nn.relu(tf.cast(x, tf.bfloat16)), tf.float32)}

        @tf.function(input_signature=[number])
        def spectrum(self, x):  # type: ignore[no-untyped-def]
            return {"y": tf.math.real(tf.signal.fft(tf.cast(x, tf.complex64)))}

        @tf.function(input_signature=[number])
        def python(self, x):  # type: ignore[no-untyped-def]
            return {"y": tf.reshape(tf.numpy_function(lambda a: a * 2, [x], tf.float32), [-1, 4])}

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 6, 3], name="image")])
        def nearest(self, image):  # type: ignore[no-untyped-def]
            sizes = {"up": (16, 12), "down": (5, 4), "third": (24, 18)}
            return {name: tf.image.resize(image, size, method="nearest") for name, size in sizes.items()}

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 4], name="image")])
        def compiled(self, image):  # type: ignore[no-untyped-def]
            kernel = np.random.default_rng(3).standard_normal((3, 3, 2, 6)).astype(np.float32)
            return {"y": keras.ops.conv(image, kernel), "z": alone(image)}

        @tf.function(input_signature=[tf.TensorSpec([9, 4], name="boxes"), tf.TensorSpec([9], name="scores")])
        def suppress(self, boxes, scores):  # type: ignore[no-untyped-def]
            return {"best": tf.gather(boxes, tf.image.non_max_suppression(boxes, scores, 3, name="keep"))}

    return Odd()


def run(calls: list[tuple[str, Any]], emit: Emit) -> list[Any]:
    """Results of stages, or the errors that they raise; a later stage reads what an earlier one wrote."""
    results = []
    for stage, request in calls:
        try:
            results.append(resolve(f"trtconv.stages.{stage}:{stage}")(request, emit))
        except TrtconvError as error:
            results.append(error)
    return results

"""The networks of the precision zoo: two really trained, on scikit-learn's digits, the others with seeded weights.

Batch-norm statistics of the others are set by running data through them, so that activations are sane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


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

    class Positions(layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            start = keras.initializers.RandomNormal(stddev=0.02)
            self.table = self.add_weight(shape=(1, *shape[1:]), initializer=start, name="table")

        def call(self, x: Any) -> Any:
            return x + self.table

    def network() -> Any:
        image = layers.Input((8, 8, 1), name="image")
        x = Positions(name="positions")(layers.Reshape((16, 64))(layers.Conv2D(64, 2, strides=2)(image)))
        for _ in range(4):
            x = _encoder(x, width=64, heads=4)
        x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-5)(x))
        return keras.Model(image, layers.Dense(10, name="logits")(x))

    def optimizer(steps: int) -> Any:
        warm = steps // 10  # without it the attention of the first epochs is noise and stays so
        rate = keras.optimizers.schedules.CosineDecay(0.0, steps - warm, warmup_target=2e-3, warmup_steps=warm)
        return keras.optimizers.AdamW(rate, weight_decay=0.05)

    train, held_out = train_digits.split()
    model = train_digits.fit(train, 80, network, optimizer)
    train_digits.save(folder, model, train[0], held_out)


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

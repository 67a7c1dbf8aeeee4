#!/usr/bin/env python3
"""Train a small convolutional network on scikit-learn's handwritten digits, as a model for ``configs/digits.yaml``.

The set has 1,797 images of 8x8 pixels. A fixed seed splits it into 1,437 to train on and 360 held out, with every digit
in proportion. The output folder gets

    saved_model/      input ``image`` [batch, 8, 8, 1] float32 in 0..1, output ``logits`` [batch, 10] float32
    calibration.npz   ``image``: 512 images of the training part
    heldout.npz       ``image``: the 360 held-out images; ``labels``: their digits, int64

and appears whole or not at all. The network ends in logits: a softmax would squash the differences that verification
is there to find.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the CPU is faster on images this small, and its sums repeat
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN adds in an order that depends on the machine
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SEED = 7
HELD_OUT = 360
CALIBRATION = 512
BATCH = 64
EPOCHS = 24
PEAK_RATE = 4e-3


def main() -> None:
    """Train, save, and say how good the network is."""
    options = _options()
    started = time.monotonic()
    try:
        train, held_out = split()
        model = fit(train, epochs=options.epochs)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}; install what training needs: pip install -e '.[tf]' scikit-learn") from None
    accuracy = 100 * np.mean(model(held_out[0], training=False).numpy().argmax(axis=1) == held_out[1])
    save(options.output, model, train[0], held_out)
    print(
        f"{options.output}: {model.count_params()} parameters, {accuracy:.2f} % of {HELD_OUT} held-out digits right, "
        f"{time.monotonic() - started:.0f} s"
    )


def split() -> tuple[Any, Any]:
    """(images, labels) to train on and (images, labels) held out; images [n, 8, 8, 1] float32 in 0..1."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[..., np.newaxis]
    labels = digits.target.astype(np.int64)
    parts = train_test_split(images, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED)
    return (parts[0], parts[2]), (parts[1], parts[3])


def network() -> Any:
    """Four convolutions with batch normalization, two of them in a residual branch; about 50,000 parameters."""
    from keras import Model, layers

    def convolve(x: Any, filters: int, activate: bool = True) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)  # the usual 0.99 lags behind in so few steps
        return layers.ReLU()(x) if activate else x

    image = layers.Input((8, 8, 1), name="image")
    stem = convolve(image, 32)
    branch = convolve(convolve(stem, 32), 32, activate=False)
    joined = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([stem, branch])))
    top = layers.MaxPooling2D()(convolve(joined, 64))
    hidden = layers.Dropout(0.3, seed=SEED)(layers.Dense(48, activation="relu")(layers.Flatten()(top)))
    return Model(image, layers.Dense(10, name="logits")(hidden))


def adam(steps: int) -> Any:
    """The optimizer for so many steps; the learning rate falls along a cosine."""
    import keras

    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(PEAK_RATE, steps))


def fit(
    train: tuple[Any, Any], epochs: int, make: Callable[[], Any] = network, optimizer: Callable[[int], Any] = adam
) -> Any:
    """A network trained on images that move by up to one pixel each way.

    Args:
        train: images and labels.
        epochs: how often each is seen.
        make: makes the network.
        optimizer: makes its optimizer, from the number of steps.
    """
    with _muted_stderr():  # its libraries report, before any setting is read, that there is no GPU
        import tensorflow as tf
    import keras

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    images, labels = train
    steps = epochs * -(-len(images) // BATCH)
    model = make()
    model.compile(optimizer(steps), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    random = np.random.default_rng(SEED)
    for epoch in range(1, epochs + 1):
        result = model.fit(shifted(images, random), labels, batch_size=BATCH, verbose=0).history
        print(
            f"epoch {epoch:2d}/{epochs}  loss {result['loss'][0]:.4f}  accuracy {result['accuracy'][0]:.4f}", flush=True
        )
    return model


def shifted(images: Any, random: np.random.Generator) -> Any:
    """A copy with every image moved by -1, 0 or 1 pixel in each direction, zeros moving in."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(1, 2))  # [n, 3, 3, 1, 8, 8]
    down, right = random.integers(0, 3, (2, len(images)))
    return np.moveaxis(windows[np.arange(len(images)), down, right], 1, -1).copy()


def save(output: Path, model: Any, train_images: Any, held_out: tuple[Any, Any]) -> None:
    """Write the folder under a temporary name beside its own, then let it take its place."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        fresh = Path(scratch, "new")
        fresh.mkdir()
        export(model, fresh / "saved_model")
        chosen = np.random.default_rng(SEED).choice(len(train_images), CALIBRATION, replace=False)
        np.savez_compressed(fresh / "calibration.npz", image=train_images[chosen])
        np.savez_compressed(fresh / "heldout.npz", image=held_out[0], labels=held_out[1])
        if output.exists():
            output.rename(Path(scratch, "old"))
        fresh.rename(output)


def export(model: Any, folder: Path) -> None:
    """Save for inference, with the names that the job file uses."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")])
    def serve(image: Any) -> Any:
        return {"logits": model(image, training=False)}

    tf.saved_model.save(model, str(folder), signatures={"serving_default": serve})


@contextlib.contextmanager
def _muted_stderr() -> Iterator[None]:
    """Drop what native code writes to file descriptor 2."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("build/digits-data"), help="folder to write (%(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the training part (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

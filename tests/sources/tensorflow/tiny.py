"""The smallest model of each TensorFlow format: y = relu(x W + b), for the conformance test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

W = np.arange(12, dtype=np.float32).reshape(4, 3) / 10 - 0.5
B = np.array([0.1, -0.2, 0.3], np.float32)


def saved_model(folder: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.w, module.b = tf.Variable(W), tf.Variable(B)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def call(x: Any) -> Any:
        return {"y": tf.nn.relu(x @ module.w + module.b)}

    tf.saved_model.save(module, str(folder / "saved"), signatures=call)
    return folder / "saved"


def keras(folder: Path) -> Path:
    import keras as package

    layer = package.layers.Dense(3, activation="relu", name="y")
    model = package.Sequential([package.layers.Input((4,), name="x"), layer])
    layer.set_weights([W, B])
    model.save(folder / "model.keras")
    return folder / "model.keras"


def checkpoint(folder: Path) -> Path:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4], "x")
        w, b = (v1.Variable(value, use_resource=False) for value in (W, B))
        tf.nn.relu(x @ w + b, name="y")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "model.ckpt"))
    return folder / "model.ckpt.meta"


def frozen_pb(folder: Path) -> Path:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
        tf.nn.relu(x @ tf.constant(W) + tf.constant(B), name="y")
    (folder / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return folder / "graph.pb"


MODELS = {"saved_model": saved_model, "keras": keras, "checkpoint": checkpoint, "frozen_pb": frozen_pb}

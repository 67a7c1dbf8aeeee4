"""Small seeded models of older TensorFlow: graphs with sessions, TensorFlow Lite, Keras 2; made in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.events import Emit


def make(folder: Path, _emit: Emit) -> None:
    """Write the models."""
    import tensorflow as tf

    _lite(tf, folder)
    _needs_foreign_code(tf, folder)
    _keras_2(folder)
    v1 = tf.compat.v1
    for version in (1, 2):
        (v1.enable_control_flow_v2 if version == 2 else v1.disable_control_flow_v2)()
        for kind in ("cond", "while"):
            _flow(tf, folder / f"{kind}_v{version}", kind)
    _lenet(tf, folder / "lenet")


def _lenet(tf: Any, folder: Path) -> None:
    v1 = tf.compat.v1
    folder.mkdir()
    with tf.Graph().as_default() as graph:
        random = np.random.default_rng(5)

        def variable(*shape: int) -> Any:
            return v1.Variable(random.normal(0, 0.2, shape).astype(np.float32), use_resource=False)

        image = v1.placeholder(tf.float32, [None, 12, 12, 1], name="Placeholder")
        keep = v1.placeholder(tf.float32, name="keep_prob")
        labels = v1.placeholder(tf.int64, [None], name="labels")
        hot = tf.nn.relu(tf.nn.conv2d(image, variable(3, 3, 1, 4), 1, "SAME") + variable(4), name="conv1/Relu")
        flat = tf.reshape(tf.nn.max_pool2d(hot, 2, 2, "SAME", name="pool1"), [-1, 144])
        full = v1.nn.dropout(tf.nn.relu(flat @ variable(144, 16), name="fc1/Relu"), keep_prob=keep)
        scores = tf.nn.relu(full @ variable(16, 10) + variable(10), name="fc2/Relu")
        loss = v1.losses.sparse_softmax_cross_entropy(labels, scores)
        v1.train.AdamOptimizer(1e-3).minimize(loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(folder / "model.ckpt"))
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["fc2/Relu"])
            (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
            (folder / "frozen.pbtxt").write_text(str(frozen))
            (folder / "unfrozen.pb").write_bytes(graph.as_graph_def().SerializeToString())
            signature = v1.saved_model.predict_signature_def({"image": image}, {"features": hot})
            drops = v1.saved_model.predict_signature_def({"image": image, "keep_prob": keep}, {"scores": scores})
            builder = v1.saved_model.Builder(str(folder / "saved"))
            builder.add_meta_graph_and_variables(
                session, ["serve"], {"serving_default": signature, "with_dropout": drops}
            )
            builder.save()
            given = np.random.default_rng(1).standard_normal((3, 12, 12, 1)).astype(np.float32)
            names = ["conv1/Relu", "pool1", "fc1/Relu", "fc2/Relu"]
            made = session.run({name: f"{name}:0" for name in names}, {image: given, keep: 1.0})
            np.savez(folder / "observed.npz", Placeholder=given, **{n.replace("/", "_"): a for n, a in made.items()})


def _flow(tf: Any, folder: Path, kind: str) -> None:
    v1 = tf.compat.v1
    folder.mkdir()
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        weight = v1.Variable(np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32), use_resource=False)
        if kind == "cond":
            y = tf.cond(tf.reduce_sum(x) > 0, lambda: x @ weight, lambda: x - weight[0])
        else:
            _, y = tf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, tf.nn.relu(a @ weight) + x), [0, x])
        tf.identity(y, name="out")
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(folder / "model"))


def _lite(tf: Any, folder: Path) -> None:
    random = np.random.default_rng(4)
    kernel, weight = (tf.constant(random.normal(0, 0.3, s).astype(np.float32)) for s in ((3, 3, 3, 8), (512, 10)))

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], name="image")])
    def call(image: Any) -> Any:
        return {"scores": tf.reshape(tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME")), [1, 512]) @ weight}

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], name="image")])
    def gelu(image: Any) -> Any:
        seen = call(image)["scores"]
        return {"scores": tf.nn.gelu(seen, approximate=False) + tf.nn.gelu(3 * seen, approximate=True)}

    module = tf.Module()
    module.call, module.gelu = call, gelu
    for name in ("float", "gelu", "dynamic", "int8", "integers"):
        function = (gelu if name == "gelu" else call).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        converter.optimizations = [] if name in ("float", "gelu") else [tf.lite.Optimize.DEFAULT]
        if name in ("int8", "integers"):
            samples = [[random.standard_normal((1, 8, 8, 3)).astype(np.float32)] for _ in range(8)]
            converter.representative_dataset = lambda samples=samples: iter(samples)
        if name == "integers":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type, converter.inference_output_type = tf.int8, tf.uint8
        (folder / f"{name}.tflite").write_bytes(converter.convert())


def _needs_foreign_code(tf: Any, folder: Path) -> None:
    """A SavedModel whose objects cannot be restored: its description of them names a function that is not there."""
    from tensorflow.core.protobuf import saved_model_pb2

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weight = tf.Variable(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def call(self, x):  # type: ignore[no-untyped-def]
            return {"y": x @ self.weight}

    module = Module()
    tf.saved_model.save(module, str(folder / "foreign"), signatures=module.call)
    file = folder / "foreign/saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for node in saved.meta_graphs[0].object_graph_def.nodes:
        for name in list(node.function.concrete_functions):
            node.function.concrete_functions.append(f"{name}_of_another_program")
    file.write_bytes(saved.SerializeToString())


def _keras_2(folder: Path) -> None:
    import os

    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    layers = tf_keras.layers
    series = layers.Input((5, 3), name="series")
    model = tf_keras.Model(series, layers.Dense(2, name="end")(layers.LSTM(4)(series)))
    model.save(folder / "keras2.h5")
    tf_keras.Sequential([layers.Input((4,)), layers.Lambda(lambda x: x * 2)]).save(folder / "lambda2.h5")

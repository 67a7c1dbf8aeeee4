"""Models of TensorFlow with something odd about them, and what freeze and convert make of each; one process for all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def make(folder: Path) -> None:
    """Write the models."""
    import keras
    import tensorflow as tf

    layers = keras.layers

    class Scale(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    keras.saving.register_keras_serializable("pk")(Scale)
    x = keras.Input((4,), name="x")
    keras.Model(x, Scale()(x)).save(folder / "custom.keras")
    keras.saving.get_custom_objects().clear()  # as in another program
    image = keras.Input((None, None, 3), name="img")
    keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear")(image)).save(folder / "bilinear.keras")
    for kind in ("GRU", "SimpleRNN", "LSTM"):  # kernels of more than 16 KiB
        series = keras.Input((5, 8), name="series")
        keras.Model(series, getattr(layers, kind)(130)(series)).save(folder / f"{kind}.keras")
    series = keras.Input((5, 8), name="series")
    both = layers.Bidirectional(layers.GRU(110, return_sequences=True))
    keras.Model(series, both(series)).save(folder / "both.keras")
    keras.Sequential([keras.Input((None,), dtype="int32", name="tokens"), layers.Embedding(9, 3), layers.GRU(4)]).save(
        folder / "tokens.keras"
    )
    keras.mixed_precision.set_global_policy("mixed_float16")
    photo = keras.Input((16, 16, 3), name="photo")
    found = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(photo))
    keras.Model(photo, layers.Dense(5, dtype="float32")(found)).save(folder / "mixed.keras")
    keras.mixed_precision.set_global_policy("float32")
    _signatures(tf, folder)
    _graphs(tf, folder)


def _signatures(tf: Any, folder: Path) -> None:
    four = tf.TensorSpec([None, 4], name="a")
    photo = tf.TensorSpec([None, 40, 40, 3], name="a")
    table = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    rows = {
        "default": (lambda a: {"y": tf.raw_ops.PlaceholderWithDefault(input=[1.0, 2, 3, 4], shape=[4]) * a}, [four]),
        "texts": (lambda a: {"y": a * 2, "t": tf.strings.as_string(a)}, [four]),
        "shuffled": (lambda a: {"y": tf.random.shuffle(a)}, [four]),
        "drawn": (lambda a: {"y": tf.random.uniform(tf.shape(a), 0, 9, tf.int32)}, [four]),
        "cubic": (lambda a: {"y": tf.image.resize(a, [20, 24], "bicubic")}, [photo]),
        "spectrum": (lambda a: {"y": tf.abs(tf.signal.stft(a, 128, 64))}, [tf.TensorSpec([None, 512], name="a")]),
        "rows": (lambda i: {"y": tf.gather(table, i + 0)}, [tf.TensorSpec([None], tf.int64, name="i")]),
        "order": (lambda a: {"y": a * 2.0}, [four]),
        "seeded": (lambda a: {"y": tf.random.stateless_uniform(tf.shape(a), [1, 2]) + a}, [four]),
        "diagonal": (lambda a: {"y": tf.linalg.diag(a, k=-1)}, [four]),
        "summed": (lambda a, axes: {"y": tf.reduce_sum(a, axes)}, [four, tf.TensorSpec([None], tf.int32, "axes")]),
        "squeezed": (lambda a: {"y": tf.squeeze(a)}, [tf.TensorSpec([None, 1, 4], name="a")]),
        "gathered": (
            lambda a: {"y": tf.gather(tf.RaggedTensor.from_row_splits(a[0], [0, 2, 4]), [1]).to_tensor()},
            [four],
        ),
        "nested": (lambda a: {"y": _three_deep(tf, a)}, [four]),
    }
    for name, (function, signature) in rows.items():
        module = tf.Module()
        module.f = tf.function(function, input_signature=signature)
        tf.saved_model.save(module, str(folder / name), signatures=module.f)
    _counters(tf, folder)
    _reorder(folder / "order" / "saved_model.pb")


def _counters(tf: Any, folder: Path) -> None:
    """A variable that every call changes: nothing reads it, what comes out reads it, or reads it before the change."""
    reads = {
        "counted": lambda a, count, before: a * 2.0,
        "counting": lambda a, count, before: a * count,
        "before": lambda a, count, before: a * before,
    }

    def called(module: Any, read: Any) -> Any:
        def call(a: Any) -> dict[str, Any]:
            before = module.count.read_value()
            module.count.assign_add(tf.reduce_sum(a) * before)
            return {"y": read(a, module.count, before)}

        return call

    for name, read in reads.items():
        module = tf.Module()
        module.count = tf.Variable(1.0)
        module.f = tf.function(called(module, read), input_signature=[tf.TensorSpec([None, 4], name="a")])
        tf.saved_model.save(module, str(folder / name), signatures=module.f)


def _three_deep(tf: Any, a: Any) -> Any:
    """A loop in a choice in a loop, and a choice in its midst."""

    def inner(n: Any, x: Any) -> Any:
        return n + 1, tf.cond(tf.reduce_sum(x) > 3, lambda: x * 0.5, lambda: x + 1)

    def outer(n: Any, x: Any) -> Any:
        more = tf.cond(tf.reduce_max(x) > 0, lambda: tf.while_loop(lambda n, _: n < 3, inner, [0, x])[1], lambda: -x)
        return n + 1, more

    return tf.while_loop(lambda n, _: n < 2, outer, [0, a])[1]


def _reorder(path: Path) -> None:
    """The objects of a meta graph before its infos, as any writer of protocol buffers may put them."""
    from tensorflow.core.protobuf import saved_model_pb2

    rest = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs[0]
    first = type(rest)(object_graph_def=rest.object_graph_def)
    rest.ClearField("object_graph_def")
    body, size = first.SerializeToString() + rest.SerializeToString(), bytearray()
    number = len(body)
    while number > 127:
        size.append(number & 127 | 128)
        number >>= 7
    path.write_bytes(b"\x08\x01\x12" + bytes(size) + bytes([number]) + body)


def _graphs(tf: Any, folder: Path) -> None:
    v1 = tf.compat.v1
    v1.disable_control_flow_v2()
    with tf.Graph().as_default() as graph:
        x, s = v1.placeholder(tf.float32, [None, 4], "x"), v1.placeholder(tf.float32, [], "s")
        tf.identity(x * s, "y")
        described = graph.as_graph_def()
        (folder / "scalar.pb").write_bytes(described.SerializeToString())
        described.versions.producer = 0
        (folder / "old.pb").write_bytes(described.SerializeToString())
    with tf.Graph().as_default() as graph:
        x, flag = v1.placeholder(tf.float32, [None, 4], "x"), v1.placeholder(tf.bool, None, "is_training")
        tf.identity(tf.where(flag, x, -x), "y")
        (folder / "flag.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with tf.Graph().as_default() as graph:
        start = v1.placeholder(tf.float32, [4], "x")
        tf.identity(v1.while_loop(lambda y: tf.reduce_sum(y) < 50.0, lambda y: [y * 2 + 1], [tf.abs(start)]), "y")
        (folder / "while.pb").write_bytes(graph.as_graph_def().SerializeToString())


def outcome(path: Path, shapes: dict[str, Any]) -> dict[str, Any]:
    """What comes of a model."""
    from trtconv import sources
    from trtconv.core.errors import TrtconvError
    from trtconv.core.records import InputSpec, SourceSpec
    from trtconv.stages.convert import ConvertRequest, convert
    from trtconv.stages.freeze import FreezeRequest, freeze

    said: list[str] = []
    source, inputs = SourceSpec(path), tuple(InputSpec(name, tuple(shape)) for name, shape in shapes.items())

    def emit(event: Any) -> None:
        if getattr(event, "level", "") == "warning":
            said.append(event.text)

    try:
        if sources.of(source).frozen_first:
            freeze(FreezeRequest(source, path.with_suffix(".frozen.pb"), inputs), emit)
            source = SourceSpec(path.with_suffix(".frozen.pb"))
        result = convert(ConvertRequest(source, path.with_suffix(".onnx"), inputs, support=False, origin=path), emit)
    except TrtconvError as error:
        return {"code": error.exit_code, "message": error.message, "hint": error.hint}
    worst = max((row.max_rel for row in result.checked), default=0.0)
    return {
        "code": 0,
        "draws": result.draws,
        "unchecked": result.unchecked,
        "said": said,
        "worst": worst,
        "inputs": {info.name: list(info.shape) for info in result.inputs},
    }


if __name__ == "__main__":
    where = Path(sys.argv[1])
    make(where)
    asked = json.loads(sys.argv[2])
    found = {name: outcome(where / name.partition("@")[0], shapes) for name, shapes in asked.items()}
    (where / "outcomes.json").write_text(json.dumps(found))

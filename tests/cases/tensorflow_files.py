"""Makers of the cases' TensorFlow, Keras and TensorFlow Lite files. Each writes into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def _saved(path: Path, function: Callable[..., Any], *signature: Any) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.f = tf.function(function, input_signature=list(signature))
    tf.saved_model.save(module, str(path), signatures=module.f)


def _spec(shape: list[int | None], dtype: str = "float32", name: str = "x") -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, tf.as_dtype(dtype), name=name)


def scatter_nd(folder: Path) -> None:
    """Updates of one place twice: TensorFlow adds them."""
    import tensorflow as tf

    places, updates = _spec([None, 1], "int32", "i"), _spec([None], name="v")
    _saved(folder / "scatter_nd", lambda i, v: {"y": tf.scatter_nd(i, v, [5])}, places, updates)
    np.savez(folder / "scatter_nd.npz", i=np.array([[1], [1], [3]], np.int32), v=np.array([1, 2, 4], np.float32))


def int_floordiv(folder: Path) -> None:
    """Quotient and remainder of negative integers: TensorFlow rounds down."""
    _saved(folder / "int_floordiv", lambda a: {"q": a // 3, "r": a % 3}, _spec([None], "int32", "a"))
    np.savez(folder / "int_floordiv.npz", a=np.array([-7, -5, -1, 4], np.int32))


def scalar_float_bench(folder: Path) -> None:
    """A float of no dimensions beside a tensor."""
    _saved(folder / "scalar", lambda x, a: {"y": x * a}, _spec([None, 3]), _spec([], name="a"))


def dilated_same_dynamic(folder: Path) -> None:
    """A dilated convolution with SAME padding on images of any size."""
    import tensorflow as tf

    def convolve(x: Any) -> Any:
        return {"y": tf.nn.conv2d(x, tf.ones([3, 3, 2, 4]) * 0.1, 1, "SAME", dilations=3)}

    _saved(folder / "dilated", convolve, _spec([None, None, None, 2]))


def bicubic(folder: Path) -> None:
    """Bicubic resizing up, and down along one axis."""
    import tensorflow as tf

    for name, shape, size in (("up", [None, 8, 8, 3], [24, 24]), ("down", [None, 40, 40, 3], [20, 24])):
        _saved(folder / f"bicubic_{name}", lambda x, s=size: {"y": tf.image.resize(x, s, "bicubic")}, _spec(shape))


def patches_fft_dynamic_batch(folder: Path) -> None:
    """Patches and a short-time Fourier transform of any number of samples."""
    import tensorflow as tf

    def patches(x: Any) -> Any:
        return {"y": tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID")}

    _saved(folder / "patches", patches, _spec([None, 8, 8, 3]))
    _saved(folder / "stft", lambda x: {"y": tf.abs(tf.signal.stft(x, 128, 64))}, _spec([None, 512]))


def ragged_selfhint(folder: Path) -> None:
    """A ragged input: values, and row splits that random numbers cannot be."""
    import tensorflow as tf

    def sums(tokens: Any) -> Any:
        return {"y": tf.reduce_sum(tf.cast(tokens.to_tensor(), tf.float32), 1)}

    _saved(folder / "ragged", sums, tf.RaggedTensorSpec([None, None], tf.int32))


def savedmodel_field_order(folder: Path) -> None:
    """A SavedModel whose meta graph begins with its last field, the objects."""
    from tensorflow.core.protobuf import saved_model_pb2

    _saved(folder / "field_order", lambda x: {"y": x * 2.0}, _spec([None, 3]))
    path = folder / "field_order" / "saved_model.pb"
    rest = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs[0]
    objects = type(rest)()
    objects.object_graph_def.CopyFrom(rest.object_graph_def)
    rest.ClearField("object_graph_def")
    body = objects.SerializeToString() + rest.SerializeToString()
    size, length = bytearray(), len(body)
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    path.write_bytes(b"\x08\x01\x12" + bytes(size) + bytes([length]) + body)


def mixed_float16(folder: Path) -> None:
    """A Keras model of mixed_float16, and a SavedModel with one product in float16."""
    import keras
    import tensorflow as tf
    from keras import layers

    def multiply(x: Any) -> Any:
        weights = tf.constant(np.linspace(-1, 1, 12).reshape(3, 4), tf.float16)
        return {"y": tf.cast(tf.matmul(tf.cast(x, tf.float16), weights), tf.float32)}

    _saved(folder / "half_matmul", multiply, _spec([None, 3]))
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy("mixed_float16")
    image = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(image)))
    shares = layers.Dense(5, dtype="float32", activation="softmax")(layers.GlobalAveragePooling2D()(x))
    keras.Model(image, shares).save(folder / "mixed.keras")
    keras.mixed_precision.set_global_policy("float32")


def keras_bilinear_dynamic(folder: Path) -> None:
    """Bilinear enlargement of images of any size, which Keras cannot trace."""
    import keras

    image = keras.Input((None, None, 3), name="img")
    keras.Model(image, keras.layers.UpSampling2D(2, interpolation="bilinear")(image)).save(folder / "bilinear.keras")


def keras_init_profile(folder: Path) -> None:
    """Tokens of any number through an LSTM."""
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    keras.Model(tokens, layers.Dense(2)(layers.LSTM(4)(layers.Embedding(9, 3)(tokens)))).save(folder / "tokens.keras")


def custom_layer_message(folder: Path) -> None:
    """A registered layer of somebody's own, which the file only names."""
    import keras

    @keras.saving.register_keras_serializable("pk")
    class Scale(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    x = keras.Input((4,), name="x")
    keras.Model(x, Scale()(x)).save(folder / "custom.keras")


def tf1_while_unchecked(folder: Path) -> None:
    """A frozen graph with a loop of TensorFlow 1."""
    import tensorflow as tf

    v1, graph = tf.compat.v1, tf.Graph()
    on = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [4], "x")
        y = tf.while_loop(lambda y: tf.reduce_sum(y) < 50.0, lambda y: [y * 2 + 1], [tf.abs(x)])
        tf.identity(y[0] if isinstance(y, list) else y, "y")
    (folder / "while.pb").write_bytes(graph.as_graph_def().SerializeToString())
    if on:
        v1.enable_control_flow_v2()


cache_drops_warnings = tf1_while_unchecked


def is_training_hint(folder: Path) -> None:
    """A bool placeholder of no dimensions that chooses between training and inference."""
    import tensorflow as tf

    v1, graph = tf.compat.v1, tf.Graph()
    with graph.as_default(), v1.Session(graph=graph):
        x, training = v1.placeholder(tf.float32, [None, 8, 8, 3], "x"), v1.placeholder(tf.bool, [], "is_training")

        def three(number: float) -> Any:
            return tf.constant(number, tf.float32, [3])

        normalized = v1.cond(
            training,
            lambda: v1.nn.fused_batch_norm(x, three(1), three(0), is_training=True)[0],
            lambda: v1.nn.fused_batch_norm(x, three(1), three(0), three(0.5), three(4), is_training=False)[0],
        )
        tf.identity(normalized, "y")
        (folder / "is_training.pb").write_bytes(graph.as_graph_def().SerializeToString())


def tflite_int8_sine(folder: Path) -> None:
    """A sine in int8 throughout."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(3)
    dense = keras.layers.Dense
    network = keras.Sequential([keras.Input((1,), batch_size=1), dense(16, "relu"), dense(16, "relu"), dense(1)])
    x = np.linspace(0, 6.28, 1000, dtype=np.float32)[:, None]
    network.compile("adam", "mse")
    network.fit(x, np.sin(x), epochs=60, verbose=0)
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    _quantized(converter, lambda: ([sample[None]] for sample in x[::10]), tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8)
    (folder / "sine_int8.tflite").write_bytes(converter.convert())


def _quantized(converter: Any, samples: Any, ops: Any, ends: Any) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [ops]
    converter.inference_input_type = converter.inference_output_type = ends


def _images() -> Iterator[list[np.ndarray]]:
    for seed in range(9):
        yield [np.random.default_rng(seed).standard_normal((1, 8, 8, 3)).astype(np.float32)]


def _small(quantized: bool) -> bytes:
    """A convolution and a matrix for TensorFlow Lite."""
    import tensorflow as tf
    import tf_keras as keras

    layers = [keras.Input((8, 8, 3), batch_size=1), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]
    network = keras.Sequential([*layers, keras.layers.Dense(3)])
    call = tf.function(lambda x: network(x), input_signature=[_spec([1, 8, 8, 3])])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = _images
    made: bytes = converter.convert()
    return made


def _edited(path: Path, content: bytes, edit: Callable[[Any], None]) -> None:
    from tensorflow.lite.tools import flatbuffer_utils

    path.write_bytes(content)
    flat = flatbuffer_utils.read_model(str(path))
    edit(flat)
    flatbuffer_utils.write_model(flat, str(path))


def tflite_noname(folder: Path) -> None:
    """Tensors without names."""

    def strip(flat: Any) -> None:
        flat.signatureDefs = None
        for tensor in flat.subgraphs[0].tensors:
            tensor.name = None

    _edited(folder / "noname.tflite", _small(quantized=False), strip)


def tflite_biasdim(folder: Path) -> None:
    """A bias of one dimension that is said to be quantized along its fourth."""

    def move(flat: Any) -> None:
        for tensor in flat.subgraphs[0].tensors:
            held = tensor.quantization
            if held is not None and held.scale is not None and len(held.scale) > 1 and len(tensor.shape) == 1:
                held.quantizedDimension = 3

    _edited(folder / "biasdim.tflite", _small(quantized=True), move)


def tflite_int16io(folder: Path) -> None:
    """16 bits at both ends and between, 8 bits of weights."""
    import tensorflow as tf
    import tf_keras as keras

    layers = [keras.Input((8, 8, 3), batch_size=1), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential([*layers, keras.layers.Dense(3)]))
    kind = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    _quantized(converter, _images, kind, tf.int16)
    (folder / "int16io.tflite").write_bytes(converter.convert())

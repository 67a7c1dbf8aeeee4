"""Every layer of Keras 3 and of Keras 2, at small sizes, and with weights of more than 16 KiB where it has weights."""

from __future__ import annotations

from typing import Any

from operator_cases import Case, Given, b, f, i

_IMAGE, _SERIES, _ROW, _VOLUME = f(None, 8, 8, 3), f(None, 6, 5), f(None, 7), f(None, 4, 4, 4, 2)
_FIXED, _PICTURE = f(2, 4, 4, 4, 2), f(2, 8, 8, 3, low=0, high=1)

_ONE: dict[str, tuple[Given, tuple[str, ...]]] = {
    "row": (
        _ROW,
        (
            "Activation('gelu')",
            "ActivityRegularization(0.1)",
            "AlphaDropout(0.5)",
            "Dense(5)",
            "Dense(1000)",
            "Discretization([-1.0, 0.0, 1.0])",
            "Dropout(0.5)",
            "ELU()",
            "GaussianDropout(0.5)",
            "GaussianNoise(0.5)",
            "Lambda(lambda x: x * 2 + 1)",
            "LayerNormalization()",
            "LeakyReLU()",
            "Normalization(mean=1.0, variance=4.0)",
            "PReLU()",
            "ReLU(6, 0.1, 0.5)",
            "RepeatVector(3)",
            "Softmax()",
            "SpectralNormalization(L.Dense(5))",
            "UnitNormalization()",
        ),
    ),
    "series": (
        _SERIES,
        (
            "AveragePooling1D(2)",
            "Conv1D(4, 3, padding='causal')",
            "Conv1D(40, 3, dilation_rate=2, padding='same')",
            "Conv1DTranspose(4, 3)",
            "Cropping1D(1)",
            "DepthwiseConv1D(3)",
            "EinsumDense('abc,cd->abd', output_shape=(None, 7), bias_axes='d')",
            "EinsumDense('abc,cde->abde', output_shape=(None, 32, 40))",
            "GlobalAveragePooling1D()",
            "GlobalMaxPooling1D()",
            "Masking(0.0)",
            "MaxPooling1D(2)",
            "Permute((2, 1))",
            "Reshape((5, 6))",
            "SeparableConv1D(4, 3)",
            "SpatialDropout1D(0.5)",
            "TimeDistributed(L.Dense(3))",
            "TimeDistributed(L.Dense(1000))",
            "UpSampling1D(2)",
            "ZeroPadding1D(1)",
            "RNN(L.LSTMCell(4))",
            "RNN(L.GRUCell(130))",
            "RNN(L.SimpleRNNCell(130), return_sequences=True)",
            "RNN(L.StackedRNNCells([L.LSTMCell(4), L.LSTMCell(130)]))",
            "GRU(4, reset_after=False)",
            "GRU(130, reset_after=False, go_backwards=True)",
            "LSTM(130, unroll=True)",
            "LSTM(4, activation='relu', recurrent_activation='hard_sigmoid')",
            "Bidirectional(L.LSTM(130, return_sequences=True), merge_mode='sum')",
        ),
    ),
    "image": (
        _IMAGE,
        (
            "AveragePooling2D(2, padding='same')",
            "BatchNormalization()",
            "CenterCrop(5, 4)",
            "Conv2D(4, 3, padding='same')",
            "Conv2D(4, 3, 2, 'same')",
            "Conv2D(200, 3)",
            "Conv2D(4, 3, padding='same', dilation_rate=2)",
            "Conv2D(6, 3, groups=3)",
            "Conv2DTranspose(4, 3, 2, 'same')",
            "Conv2DTranspose(200, 3, 2)",
            "Cropping2D(1)",
            "DepthwiseConv2D(3)",
            "DepthwiseConv2D(3, 2, 'same', depth_multiplier=200)",
            "Flatten()",
            "GlobalAveragePooling2D()",
            "GlobalMaxPooling2D()",
            "GroupNormalization(3)",
            "MaxPooling2D(3, 2, 'same')",
            "Rescaling(0.1, 1.0)",
            "Resizing(12, 10)",
            "SeparableConv2D(4, 3)",
            "SeparableConv2D(2000, 3)",
            "SpatialDropout2D(0.5)",
            "UpSampling2D(2)",
            "UpSampling2D(3, interpolation='bilinear')",
            "ZeroPadding2D(1)",
        ),
    ),
    "volume": (
        _VOLUME,
        (
            "AveragePooling3D(2)",
            "Conv3D(3, 2)",
            "Conv3D(300, 2)",
            "Cropping3D(1)",
            "GlobalAveragePooling3D()",
            "GlobalMaxPooling3D()",
            "MaxPooling3D(2)",
            "SpatialDropout3D(0.5)",
            "ZeroPadding3D(1)",
        ),
    ),
    "fixed": (_FIXED, ("Conv3DTranspose(3, 2)", "Conv3DTranspose(300, 2)", "UpSampling3D(2)")),
    "picture": (
        _PICTURE,
        (
            "RandomBrightness(0.5)",
            "RandomContrast(0.5)",
            "RandomCrop(4, 4)",
            "RandomFlip()",
            "RandomRotation(0.5)",
            "RandomTranslation(0.2, 0.2)",
            "RandomZoom(0.2)",
        ),
    ),
    "movie": (f(2, 3, 6, 6, 2), ("ConvLSTM2D(3, 2)", "ConvLSTM2D(40, 3, return_sequences=True)")),
    "sequence of rows": (f(2, 3, 6, 2), ("ConvLSTM1D(3, 2)", "ConvLSTM1D(60, 2)")),
    "sequence of volumes": (f(2, 2, 4, 4, 4, 2), ("ConvLSTM3D(3, 2)", "ConvLSTM3D(24, 2)")),
    "tokens": (
        i(None, 6, low=0, high=8),
        (
            "Embedding(9, 4)",
            "Embedding(9, 1000)",
            "CategoryEncoding(num_tokens=9)",
            "IntegerLookup(vocabulary=[1, 5, 7])",
            "Hashing(5)",
        ),
    ),
}
"""Layers of one input, by what goes into them."""

_MORE: dict[str, tuple[Given, ...]] = {
    "AdditiveAttention()": (_SERIES, _SERIES),
    "Attention(use_scale=True)": (_SERIES, _SERIES),
    "Add()": (_ROW, _ROW),
    "Average()": (_ROW, _ROW),
    "Concatenate()": (_ROW, f(None, 3)),
    "Concatenate(1)": (_SERIES, _SERIES),
    "Dot(1)": (_ROW, _ROW),
    "Dot((1, 2), normalize=True)": (_SERIES, f(None, 3, 6)),
    "Maximum()": (_ROW, _ROW),
    "Minimum()": (_ROW, _ROW),
    "Multiply()": (_ROW, _ROW),
    "Subtract()": (_ROW, _ROW),
    "HashedCrossing(9)": (i(3, low=0, high=8), i(3, low=0, high=8)),
}
"""Layers of a list of inputs."""

_CELLS: dict[str, tuple[Given, ...]] = {"GRUCell(4)": (_ROW, f(None, 4)), "SimpleRNNCell(130)": (_ROW, f(None, 130))}
"""Layers of a row and a state."""

_ONLY: dict[str, dict[str, tuple[Given, ...]]] = {
    "keras": {
        "AdaptiveAveragePooling1D(3)": (_SERIES,),
        "AdaptiveAveragePooling2D((2, 4))": (_IMAGE,),
        "AdaptiveAveragePooling3D(2)": (_VOLUME,),
        "AdaptiveMaxPooling1D(3)": (_SERIES,),
        "AdaptiveMaxPooling2D((2, 4))": (_IMAGE,),
        "AdaptiveMaxPooling3D(2)": (_VOLUME,),
        "AugMix()": (_PICTURE,),
        "AutoContrast()": (_PICTURE,),
        "CutMix()": (_PICTURE,),
        "Equalization(value_range=(0, 1))": (_PICTURE,),
        "GroupQueryAttention(4, 4, 2)": (_SERIES, _SERIES),
        "Identity()": (_ROW,),
        "MelSpectrogram(num_mel_bins=8, fft_length=16, sequence_stride=8, max_freq=4000)": (f(2, 64),),
        "MixUp()": (_PICTURE,),
        "Pipeline([L.Rescaling(2.0), L.Rescaling(0.5)])": (_IMAGE,),
        "RMSNormalization()": (_ROW,),
        "RandAugment(value_range=(0, 1))": (_PICTURE,),
        "RandomColorDegeneration(0.5)": (_PICTURE,),
        "RandomColorJitter((0, 1), 0.2, 0.2, 0.2, 0.2)": (_PICTURE,),
        "RandomElasticTransform()": (_PICTURE,),
        "RandomErasing()": (_PICTURE,),
        "RandomGaussianBlur()": (_PICTURE,),
        "RandomGrayscale(0.5)": (_PICTURE,),
        "RandomHue(0.5, (0, 1))": (_PICTURE,),
        "RandomInvert(0.5, (0, 1))": (_PICTURE,),
        "RandomPerspective()": (_PICTURE,),
        "RandomPosterization(4, (0, 1))": (_PICTURE,),
        "RandomSaturation(0.5, (0, 1))": (_PICTURE,),
        "RandomSharpness(0.5, (0, 1))": (_PICTURE,),
        "RandomShear(0.5, 0.5)": (_PICTURE,),
        "ReversibleEmbedding(9, 4)": (i(None, 6, low=0, high=8),),
        "STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16)": (f(2, 64, 1),),
        "Solarization(0.1, 0.5, (0, 1))": (_PICTURE,),
        "ContrastLimitedAdaptiveHistogramEqualization((0, 1), tile_grid_size=(2, 2))": (_PICTURE,),
    },
    "tf_keras": {
        "LocallyConnected1D(4, 3)": (_SERIES,),
        "LocallyConnected2D(4, 3)": (f(2, 8, 8, 3),),
        "LocallyConnected2D(4, 3, implementation=2)": (f(2, 8, 8, 3),),
        "RandomHeight(0.5)": (_PICTURE,),
        "RandomWidth(0.5)": (_PICTURE,),
        "ThresholdedReLU(0.5)": (_ROW,),
    },
}
"""What only one of the two has."""

CASES: list[Case] = []


def _call(layer: Any, *tensors: Any) -> Any:
    return layer(*tensors, training=False)


def _call_list(layer: Any, *tensors: Any) -> Any:
    return layer(list(tensors))


def _call_masked(layer: Any, rows: Any, mask: Any) -> Any:
    return layer(rows, mask=mask, training=False)


def _call_cell(layer: Any, row: Any, state: Any) -> Any:
    return layer(row, [state], training=False)[0]


def add(package: str, made: str, inputs: tuple[Given, ...], call: Any = _call, variant: str = "") -> None:
    """Put a layer into the list, made by an expression of ``L``, the package's layers."""

    def layer(keras: Any) -> Any:
        return eval(f"L.{made}", {"L": keras.layers})  # an expression of this file

    named = dict(zip("abcd", inputs, strict=False))
    CASES.append(Case(package, f"{made}{variant}", call, named, layer=layer, keras=package))


for package in ("keras", "tf_keras"):
    for given, layers in _ONE.values():
        for made in layers:
            add(package, made, (given,))
    for kind in ("GRU", "LSTM", "SimpleRNN"):
        for units in (4, 130):
            add(package, f"{kind}({units}, return_sequences=True)", (_SERIES,))
            add(package, f"Bidirectional(L.{kind}({units}))", (_SERIES,))
            add(package, f"{kind}({units})", (_SERIES, b(None, 6)), _call_masked, " masked")
    for made, inputs in _MORE.items():
        add(package, made, inputs, _call_list)
    for made, inputs in _CELLS.items():
        add(package, made, inputs, _call_cell)
    add(package, "MultiHeadAttention(2, 4)", (_SERIES, _SERIES))
    add(package, "MultiHeadAttention(4, 40)", (f(None, 6, 64), f(None, 6, 64)))
    for made, inputs in _ONLY[package].items():
        add(package, made, inputs)

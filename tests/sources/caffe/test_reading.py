"""Prototxts and caffemodels: the grammar, three generations of formats, phases, inputs, damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import caffe_networks
from tests.sources.caffe.nets import converted, normal, run
from trtconv.core.errors import SourceError, TrtconvError, UsageError
from trtconv.sources.caffe import net, text
from trtconv.sources.caffe.formats import is_caffemodel, is_prototxt
from trtconv.sources.caffe.weights import Weights


def test_every_form_of_the_grammar() -> None:
    message = text.parse(
        """# a comment { with marks
        name: 'single' ; number: 0x10, real: -1.5e-3 f: 2.5f
        list: [1, 2,
               3] list: 4
        inner { a: WORD } inner: < a: "x" "y" > inner: { a: 'q"\\'\\n\\x41\\101' }
        yes: true no: false half: .5 inf: inf"""
    )
    assert (message.text("name"), message.integer("number", 0), message.number("real", 0)) == ("single", 16, -0.0015)
    assert (message.number("f", 0), message.number("half", 0), message.number("inf", 0)) == (2.5, 0.5, np.inf)
    assert message.integers("list") == [1, 2, 3, 4]
    assert [one.text("a") for one in message.messages("inner")] == ["WORD", "xy", "q\"'\nAA"]
    assert (message.flag("yes", False), message.flag("no", True), message.flag("absent", True)) == (True, False, True)
    again = text.parse(text.write(message))
    assert text.write(again) == text.write(message)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("layer {\n name: 'a'\n", "line 1: what begins here has no '}'"),
        ("name: 'a'\n}", "line 2: '}' where a key"),
        ("a:\n:", "line 2: ':' where"),
        ("a 5", "line 1: '5' where ':' or '{' after a"),
        ("a: [1, 2", "the list of a has no end"),
        ("a: 'x\n'", "line 1: the string 'x has no end"),
        ("a: \x07", "cannot be read"),
        ("a:", "a has no value"),
        ("a { " * 5000, "hundreds deep"),
    ],
)
def test_damaged_text_is_told_with_its_line(content: str, said: str) -> None:
    with pytest.raises(SourceError) as error:
        text.parse(content)
    assert said in error.value.message
    assert error.value.hint


@pytest.mark.parametrize("ask", ["number", "integer", "text", "message", "flag"])
def test_a_value_of_another_kind_is_told(ask: str) -> None:
    message = text.parse("\n\nx: WORD" if ask not in ("text", "flag") else "\n\nx { }" if ask == "text" else "\n\nx: 7")
    with pytest.raises(SourceError, match=r"x is .* expected"):
        message.message("x") if ask == "message" else getattr(message, ask)("x", *([] if ask == "text" else [0]))


CONV = "convolution_param {{ num_output: 4 kernel_size: 3 {pad} }}"
SECOND = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer {{ name: "c" type: "Convolution" bottom: "data" top: "c" {conv} }}
layer {{ name: "r" type: "ReLU" bottom: "c" top: "c" }}
layer {{ name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param {{ pool: AVE kernel_size: 3 stride: 2 }} }}
layer {{ name: "f" type: "InnerProduct" bottom: "p" top: "f" inner_product_param {{ num_output: 5 }} }}
layer {{ name: "s" type: "Softmax" bottom: "f" top: "s" }}"""
FIRST = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers {{ name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 {conv} }}
layers {{ name: "r" type: RELU bottom: "c" top: "c" }}
layers {{ name: "p" type: 17 bottom: "c" top: "p" pooling_param {{ pool: AVE kernel_size: 3 stride: 2 }} }}
layers {{ name: "f" type: INNER_PRODUCT bottom: "p" top: "f" inner_product_param {{ num_output: 5 }} }}
layers {{ name: "s" type: SOFTMAX bottom: "f" top: "s" }}"""
ZEROTH = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "d" type: "padding" pad: 1 } bottom: "data" top: "d" }
layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 3 } bottom: "d" top: "c" }
layers { layer { name: "r" type: "relu" } bottom: "c" top: "c" }
layers { layer { name: "p" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "c" top: "p" }
layers { layer { name: "f" type: "innerproduct" num_output: 5 biasterm: true } bottom: "p" top: "f" }
layers { layer { name: "s" type: "softmax" } bottom: "f" top: "s" }"""
PADDED = CONV.format(pad="pad: 1")
ARRAYS = {"c": [normal(4, 3, 3, 3), normal(4)], "f": [normal(5, 64), normal(5)]}
IMAGE = {"data": normal(1, 3, 8, 8)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = converted(tmp_path_factory.mktemp("second"), SECOND.format(conv=PADDED), ARRAYS)
    return run(made.model, IMAGE)["s"]


@pytest.mark.parametrize("form", ["v2", "v1", "v0"])
@pytest.mark.parametrize("data", ["float", "unpacked", "double", "half"])
@pytest.mark.parametrize("legacy", [False, True])
def test_generations_of_the_formats_say_the_same(
    tmp_path: Path, expected: Any, form: str, data: str, legacy: bool
) -> None:
    prototxt = {"v2": SECOND.format(conv=PADDED), "v1": FIRST.format(conv=PADDED), "v0": ZEROTH}[form]
    (tmp_path / "net.caffemodel").write_bytes(caffe_networks.caffemodel(ARRAYS, form, data, legacy))
    (tmp_path / "net.prototxt").write_text(prototxt)
    found = run(converted_with(tmp_path, tmp_path / "net.caffemodel").model, IMAGE)["s"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 if data == "half" else 1e-7)


def test_blobs_in_pieces_and_an_unknown_order(tmp_path: Path) -> None:
    message, values = caffe_networks.message, np.arange(6, dtype=np.float32)
    single = b"".join(b"\x2d" + value.tobytes() for value in values[:3])  # wire type 5: not packed
    pieces = [
        *message(7, message(1, [b"\x02\x03"])),
        single,
        *message(5, [values[3:5].tobytes()]),
        *message(5, [values[5:].tobytes()]),
    ]
    layer = [*message(7, pieces), *message(1, [b"layer"])]  # the name comes last
    file = tmp_path / "net.caffemodel"
    file.write_bytes(b"".join(caffe_networks.message(100, layer)))
    blob = Weights(file).layers["layer"][0]
    assert blob.shape == (2, 3)
    assert blob.array().tolist() == [0, 1, 2, 3, 4, 5]


TRAINED = caffe_networks.caffemodel(ARRAYS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (TRAINED[:-100], "truncated or damaged"),
        (TRAINED[: len(TRAINED) // 2], "truncated or damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it looks like a PNG image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"name: 'x' layer { type: 'ReLU' }", "a Caffe network (.prototxt)"),
        (b"\x0a\x03net", "not a caffemodel"),
    ],
)
def test_weights_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "net.caffemodel").write_bytes(content)
    with pytest.raises(SourceError) as error:
        Weights(tmp_path / "net.caffemodel")
    assert said in error.value.message
    assert error.value.hint


def test_truncation_anywhere_is_an_error_and_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "net.caffemodel"
    (tmp_path / "net.prototxt").write_text(SECOND.format(conv=PADDED))
    for size in range(1, len(TRAINED), 61):
        file.write_bytes(TRAINED[:size])
        with pytest.raises(SourceError):
            converted_with(tmp_path, file)


def converted_with(folder: Path, weights: Path) -> Any:
    from trtconv.sources.caffe import importer

    return importer.to_onnx(net.read(folder / "net.prototxt"), Weights(weights))


def test_weights_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no weights for 'f' \\(InnerProduct\\)") as error:
        converted(tmp_path, SECOND.format(conv=PADDED), {"c": ARRAYS["c"], "F": ARRAYS["f"]})
    assert "'F'" in error.value.hint
    wrong = {"c": [normal(4, 3, 5, 5), normal(4)], "f": [normal(5, 32), normal(6)]}
    with pytest.raises(SourceError) as error:
        converted(tmp_path, SECOND.format(conv=PADDED), wrong)
    for part in ("'c'", "[4, 3, 5, 5]", "[4, 3, 3, 3]", "'f'", "[5, 32]", "[5, 64]", "[6]"):
        assert part in error.value.message
    with pytest.raises(SourceError, match="has 1 arrays, and the prototxt needs its bias"):
        converted(tmp_path, SECOND.format(conv=PADDED), {"c": ARRAYS["c"][:1], "f": ARRAYS["f"]})


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 layers have weights"):
        converted(tmp_path, SECOND.format(conv=PADDED))


def test_shared_parameters(tmp_path: Path) -> None:
    """Siamese networks: layers that give their parameters the same names have the same, stored once or twice."""
    shared = """input: "a" input_shape { dim: 1 dim: 4 } input: "b" input_shape { dim: 1 dim: 4 }
    layer { name: "left" type: "InnerProduct" bottom: "a" top: "left" param { name: "w" } param { name: "b" }
            inner_product_param { num_output: 2 } }
    layer { name: "right" type: "InnerProduct" bottom: "b" top: "right" param { name: "w" } param { name: "b" }
            inner_product_param { num_output: 2 } }"""
    made = converted(tmp_path, shared, {"left": [normal(2, 4), normal(2)]})
    found = run(made.model, {"a": np.ones((1, 4), np.float32), "b": np.ones((1, 4), np.float32)})
    assert found["left"].tolist() == found["right"].tolist()


TRAINING = """name: "t"
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } }
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST } }
layer { name: "noise" type: "Noise" bottom: "data" top: "data" include { phase: TRAIN } }
layer { name: "stage" type: "Noise" bottom: "data" top: "data" include { stage: "other" } }
layer { name: "level" type: "Noise" bottom: "data" top: "data" include { min_level: 1 } }
layer { name: "unless" type: "Noise" bottom: "data" top: "data" exclude { phase: TEST } }
layer { name: "f" type: "InnerProduct" bottom: "data" top: "f" inner_product_param { num_output: 2 } }
layer { name: "quiet" type: "Silence" bottom: "unused" }
layer { name: "hot" type: "Power" bottom: "label" top: "hot" }
layer { name: "accuracy" type: "Accuracy" bottom: "f" bottom: "label" top: "accuracy" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "f" bottom: "hot" top: "loss" }
"""


def test_a_network_for_training(tmp_path: Path) -> None:
    unused = 'layer { name: "u" type: "Power" bottom: "data" top: "unused" }\n'
    prototxt = TRAINING.replace('layer { name: "quiet"', f'{unused}layer {{ name: "quiet"')
    arrays = {"f": [normal(2, 4), normal(2)]}
    with pytest.raises(UsageError, match="input 'data' of layer 'd' has no shape") as error:
        converted(tmp_path, prototxt, arrays)
    assert "--input data:" in error.value.hint
    made = converted(tmp_path, prototxt, arrays, shapes={"data": ("batch", 4)})
    x = normal(3, 4)
    found = run(made.model, {"data": x})
    assert list(found) == ["f"]
    np.testing.assert_allclose(found["f"], x @ arrays["f"][0].T + arrays["f"][1], rtol=1e-5, atol=1e-6)
    assert [note for note in made.notes if "'hot'" in note and "'label'" in note]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (
            'type: "MemoryData" top: "x" top: "l" memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }',
            (2, 3, 4, 5),
        ),
        ('type: "DummyData" top: "x" dummy_data_param { shape { dim: 7 dim: 1 } }', (7, 1)),
        ('type: "DummyData" top: "x" dummy_data_param { num: 1 channels: 2 height: 3 width: 4 }', (1, 2, 3, 4)),
        ('type: "Input" top: "x" input_param { shape { dim: 1 dim: 9 } }', (1, 9)),
        ('type: "ImageData" top: "x" top: "l"', None),
    ],
)
def test_shapes_of_data_layers(tmp_path: Path, layer: str, shape: Any) -> None:
    file = tmp_path / "net.prototxt"
    file.write_text(f'layer {{ name: "d" {layer} }} layer {{ name: "y" type: "TanH" bottom: "x" top: "y" }}')
    found = net.read(file)
    assert [(one.name, one.shape) for one in found.inputs] == [("x", shape)]
    assert found.outputs == ("y",)


def test_layers_in_place_and_cuts(tmp_path: Path) -> None:
    """A blob that several layers overwrite is what the last of them makes; a cut needs only what is before it."""
    prototxt = """input: "x" input_shape { dim: 1 dim: 4 }
    layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } }
    layer { name: "b" type: "Power" bottom: "a" top: "a" power_param { shift: 1 } }
    layer { name: "skip" type: "Power" bottom: "a" top: "skip" }
    layer { name: "c" type: "ReLU" bottom: "a" top: "a" }
    layer { name: "d" type: "OfAFork" bottom: "a" bottom: "skip" top: "d" }"""
    x = np.array([[-2, -1, 0, 1]], np.float32)
    found = run(converted(tmp_path, prototxt, outputs=["a", "skip"]).model, {"x": x})
    assert found["a"].tolist() == [[0, 0, 1, 3]]
    assert found["skip"].tolist() == [[-3, -1, 1, 3]]
    with pytest.raises(TrtconvError, match="layer 'd' has the type OfAFork") as error:
        converted(tmp_path, prototxt)
    assert "convert.outputs: [a, skip]" in error.value.hint
    with pytest.raises(UsageError, match="no blob 'e'"):
        converted(tmp_path, prototxt, outputs=["e"])


def test_an_input_that_is_written_over(tmp_path: Path) -> None:
    prototxt = 'input: "x" input_shape { dim: 1 dim: 2 } layer { name: "r" type: "ReLU" bottom: "x" top: "x" }'
    made = converted(tmp_path, prototxt)
    assert run(made.model, {"x": np.array([[-1, 1]], np.float32)})["x_out"].tolist() == [[0, 1]]


def test_a_dynamic_batch(tmp_path: Path) -> None:
    made = converted(tmp_path, SECOND.format(conv=PADDED), ARRAYS, shapes={"data": ("batch", 3, 8, 8)})
    five = run(made.model, {"data": np.repeat(IMAGE["data"], 5, 0)})["s"]
    assert five.shape == (5, 5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('layer { name: "a" type: "ReLU" bottom: "x" top: "y" }', "reads 'x', which nothing before it makes"),
        (
            'input: "x" layer { name: "a" type: "ReLU" bottom: "x" top: "y" } '
            'layer { name: "b" type: "TanH" bottom: "x" top: "y" }',
            "makes the blob 'y', which is made already",
        ),
        ('input: "x" layer { name: "a" type: "Silence" bottom: "x" }', "no outputs"),
        ("net: 'train.prototxt' base_lr: 0.1", "no network"),
        ('layer { name: "a" } layers { name: "b" }', "mixes two formats"),
        ('input: "x" layers { name: "a" type: NEW bottom: "x" top: "y" }', "the type NEW"),
        ('input: "x" layer { name: "a" bottom: "x" top: "y" }', "has no type"),
        ('input: "x" input_dim: 1 input_dim: 2', "shapes that are not as many"),
    ],
)
def test_networks_that_do_not_fit_together(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "net.prototxt").write_text(content)
    with pytest.raises(SourceError) as error:
        net.read(tmp_path / "net.prototxt")
    assert said in error.value.message
    assert error.value.hint


def test_first_bytes() -> None:
    for form in ("v2", "v1", "v0"):
        assert is_caffemodel(caffe_networks.caffemodel(ARRAYS, form)[:4096])
    assert not is_caffemodel(b"\x0a\x20\x0a\x05const\x12\x05Const")  # a GraphDef
    assert not is_caffemodel(b"\x08\x07\x12\x07pytorch")  # ONNX
    assert is_prototxt(b"\xef\xbb\xbf# comment\n\nname: 'x'\nlayer {")
    for content in (SECOND, FIRST, ZEROTH, TRAINING):
        assert is_prototxt(content.encode())
    for other in (
        b"node {\n name: 'x'\n op: 'Const'",
        b"version: 1\nsource: {path: x}\n",
        b"import torch\n",
        b'{"a": 1}',
    ):
        assert not is_prototxt(other)

"""What a path holds is told from the files themselves, without their framework; everything else is named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import parser

from trtconv import sources
from trtconv.core.errors import SourceError, UsageError
from trtconv.core.records import SourceSpec

NODE = b"\x0a\x05image\x12\x0bPlaceholder"
GRAPH_DEF = b"\x0a" + bytes([len(NODE)]) + NODE
SAVED_MODEL = b"\x08\x01\x12\x10\x0a\x02"


def zipped(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json").replace("_pkl", ".pkl"), text)


def an_onnx(path: Path) -> None:
    onnx.save(
        parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) {y = Relu(x)}'),
        path,
    )


def a_saved_model(path: Path) -> None:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(SAVED_MODEL)


def an_onnx_folder(path: Path) -> None:
    path.mkdir()
    an_onnx(path / "model.onnx")


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("saved_model", a_saved_model),
        ("keras", lambda p: zipped(p, metadata_json=json.dumps({"keras_version": "3.1"}), config_json="{}")),
        ("keras", lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))),
        ("frozen_pb", lambda p: p.write_bytes(GRAPH_DEF * 3)),
        ("frozen_pb", lambda p: p.write_text('node {\n name: "x"\n}')),
        ("torch_pickle", lambda p: zipped(p, archive__data_pkl="x", archive__version="3")),
        ("onnx", an_onnx),
        ("onnx", an_onnx_folder),
        ("tflite", lambda p: p.write_bytes(b"\x1c\0\0\0TFL3" + bytes(20))),
        ("checkpoint", lambda p: p.with_name(p.name + ".index").write_bytes(b"x")),
    ],
)
def test_formats(tmp_path: Path, kind: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model")  # the name says nothing
    assert sources.detect(tmp_path / "model").name == kind


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("a PNG image", lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n123")),
        ("a Git LFS pointer", lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
        ("an HTML page", lambda p: p.write_text("<!DOCTYPE html>\n<html></html>")),
        ("a zip archive", lambda p: zipped(p, readme="x")),
        ("an empty file", Path.touch),
        ("a TensorRT engine", lambda p: p.write_bytes(b"ftrt" + bytes(40))),
        ("a TensorRT calibration cache", lambda p: p.write_text("TRT-8601-EntropyCalibration2\nimage: 3c010a14\n")),
        ("a JSON document", lambda p: p.write_text('{"a": 1}')),
        ("a text file", lambda p: p.write_text("hello")),
        ("unknown binary data", lambda p: p.write_bytes(bytes(range(255)))),
        ("a truncated zip archive", lambda p: p.write_bytes(b"PK\x03\x04" + bytes(50))),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, what: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model.pb")
    with pytest.raises(SourceError) as caught:
        sources.detect(tmp_path / "model.pb")
    assert f"{tmp_path / 'model.pb'}: not a model that trtconv knows; it looks like {what}" in caught.value.message


def test_missing_paths_and_folders_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(SourceError, match="no such file") as caught:
        sources.detect(tmp_path / "savd")
    assert caught.value.hint == f"did you mean '{tmp_path / 'saved'}'?"
    (tmp_path / "saved/weights.bin").touch()
    with pytest.raises(SourceError, match=r"no model in this folder; it holds weights\.bin"):
        sources.detect(tmp_path / "saved")
    a_saved_model(tmp_path / "whole")
    with pytest.raises(SourceError, match="part of a SavedModel") as caught:
        sources.detect(tmp_path / "whole/saved_model.pb")
    assert str(tmp_path / "whole") in caught.value.hint


def test_cuts_are_for_graphs_of_named_nodes(tmp_path: Path) -> None:
    an_onnx(tmp_path / "x.onnx")
    with pytest.raises(UsageError, match="constants are for frozen graphs"):
        sources.open_model(SourceSpec(tmp_path / "x.onnx", constants=(("keep_prob", 1.0),)))


@pytest.mark.parametrize("name", sources.FORMATS)
def test_every_row_resolves_and_refuses_a_missing_file(name: str, tmp_path: Path) -> None:
    open_model = sources.row(name).open_model
    if name != "frozen_pb":  # its reader is TensorFlow's
        with pytest.raises(SourceError):
            open_model(SourceSpec(tmp_path / "none"))
    assert callable(open_model)

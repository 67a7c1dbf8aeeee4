"""freeze: graphs with public names from every form; whatever cannot be frozen is refused with its reason."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trtconv.core.errors import SourceError
from trtconv.core.records import InputSpec, SourceSpec, TensorInfo
from trtconv.stages.freeze import FreezeRequest, freeze

pytestmark = pytest.mark.tf


@pytest.mark.parametrize(
    ("name", "format_", "inputs", "outputs"),
    [
        ("cnn", "saved_model", {"image": ("batch", 8, 8, 1)}, {"output_0": ("batch", 10)}),
        ("cnn_keras", "keras", {"image": ("batch", 8, 8, 1)}, {"logits": ("batch", 10)}),
        (
            "two_keras",
            "keras",
            {"left": ("batch", 4), "right": ("batch", 6)},
            {"left_out": ("batch", 3), "sum": ("batch", 2)},
        ),
        ("wave_keras", "keras", {"series": ("batch", "series_dim1", 3)}, {"end": ("batch", 2)}),
        ("up", "saved_model", {"x": ("batch", 4)}, {"positive": ("batch", 4), "x_out": ("batch", 3)}),
    ],
)
def test_interface(converted: dict[str, Any], name: str, format_: str, inputs: Any, outputs: Any) -> None:
    frozen = converted[name].frozen
    assert frozen.format == format_
    assert frozen.inputs == tuple(TensorInfo(n, "float", shape) for n, shape in inputs.items())
    assert frozen.outputs == tuple(TensorInfo(n, "float", shape) for n, shape in outputs.items())


def test_the_sidecar_maps_public_names_to_tensors(converted: dict[str, Any]) -> None:
    facts = json.loads((converted["up"].folder / "up.pb.json").read_text())
    assert facts["signature"] == "up"
    assert facts["inputs"] == [{"name": "x", "tensor": "x:0", "dtype": "float", "shape": ["batch", 4]}]
    assert {row["name"]: row["tensor"] for row in facts["outputs"]} == {
        "positive": "Identity:0",
        "x_out": "Identity_1:0",
    }


def refused(refusals: Callable[..., Any], tmp_path: Path, cases: list[tuple[dict[str, Any], str, str]]) -> list[Any]:
    """Check message and hint of each case: (fields of the request, what is said, what is advised)."""
    frozen = tmp_path / "x.pb"
    requests = [FreezeRequest(**fields, frozen=frozen) for fields, _, _ in cases]
    errors: list[Any] = refusals("freeze", requests, frozen, frozen.with_name("x.pb.json"))
    for error, (_, says, hint) in zip(errors, cases, strict=True):
        assert says in error.message
        assert hint in error.hint
    return errors


def test_what_a_model_cannot_give(refusals: Callable[..., Any], zoo: Path, tmp_path: Path) -> None:
    def module(signature: str, tags: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
        return {"source": SourceSpec(zoo / "module", signature=signature, tags=tags), **options}

    errors = refused(
        refusals,
        tmp_path,
        [
            (module(""), "which signature is meant is open; it has count, down, special, text, up", "signature"),
            (module("dwn"), "no signature 'dwn'", "did you mean 'down'?"),
            (module("up", ("gpu",)), "no part with the tags gpu; it has: serve", "tags"),
            (module("count"), "(AssignAddVariableOp) changes a variable", "only computes"),
            (module("text"), "input 'words' takes strings", "after its text processing"),
            (module("up", outputs=("positve",)), "no output or node 'positve'", "did you mean 'positive'?"),
            ({"source": SourceSpec(zoo / "odd", signature="complex")}, "odd: input 'x' is complex64", "float32"),
            (
                {"source": SourceSpec(zoo / "odd", signature="rank")},
                "odd: input 'x' has no shape",
                "--input x:batch,...",
            ),
            ({"source": SourceSpec(zoo / "lambda.keras")}, "Python code in a Lambda layer", "--allow-code"),
            (module("up", inputs=(InputSpec("x", (4,)),)), "has 1 dimensions, the model's input ['batch', 4]", "batch"),
        ],
    )
    assert [error.exit_code for error in errors] == [3] * 9 + [2]


def damaged(zoo: Path, tmp_path: Path, change: Callable[[Path], None]) -> Path:
    shutil.copytree(zoo / "module", tmp_path)
    change(tmp_path)
    return tmp_path


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_truncated_files(refusals: Callable[..., Any], zoo: Path, tmp_path: Path) -> None:
    graph = damaged(zoo, tmp_path / "graph", lambda f: cut(f / "saved_model.pb"))
    variables = damaged(zoo, tmp_path / "variables", lambda f: cut(f / "variables/variables.data-00000-of-00001"))
    keras = tmp_path / "cut.keras"
    shutil.copy(zoo / "cnn.keras", keras)
    cut(keras)
    errors = refused(
        refusals,
        tmp_path,
        [
            ({"source": SourceSpec(graph, signature="up")}, f"{graph}: its saved_model.pb cannot be read", "copy"),
            (
                {"source": SourceSpec(variables, signature="up")},
                f"{variables}: TensorFlow cannot load this",
                "variables/",
            ),
            (
                {"source": SourceSpec(keras)},
                f"{keras}: not a model that trtconv knows; it looks like a truncated",
                "give",
            ),
        ],
    )
    assert {error.exit_code for error in errors} == {3}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "variables/variables.index").unlink(), "variables.index is missing"),
        (lambda f: (f / "variables/variables.data-00000-of-00001").unlink(), "variables.data-* are missing"),
        (lambda f: (f / "saved_model.pb").write_bytes(b"<!DOCTYPE html><html>"), "it looks like an HTML page"),
    ],
)
def test_damage_is_found_before_tensorflow_loads(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], says: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    folder = damaged(zoo, tmp_path / "damaged", change)
    with pytest.raises(SourceError) as caught:
        freeze(FreezeRequest(SourceSpec(folder), tmp_path / "x.pb"), lambda _: None)
    assert says in caught.value.message

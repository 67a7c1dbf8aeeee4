"""Odd models of TensorFlow and Keras: converted and compared, or refused with what to do next."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trtconv.core.input_use import Use
from trtconv.sources.tensorflow import describe, formats

HERE = Path(__file__).parent
ASKED: dict[str, dict[str, list[Any]]] = {
    "custom.keras": {},
    "bilinear.keras": {},
    "bilinear.keras@shaped": {"img": [1, 32, 32, 3]},
    "GRU.keras": {},
    "SimpleRNN.keras": {},
    "LSTM.keras": {},
    "both.keras": {},
    "seeded": {},
    "diagonal": {},
    "summed": {},
    "squeezed": {},
    "gathered": {},
    "nested": {},
    "tokens.keras": {},
    "mixed.keras": {},
    "default": {},
    "texts": {},
    "shuffled": {},
    "drawn": {},
    "cubic": {},
    "spectrum": {},
    "rows": {},
    "order": {},
    "counted": {},
    "counting": {},
    "before": {},
    "scalar.pb": {},
    "old.pb": {},
    "old.pb@scalar": {"s": []},
    "flag.pb": {},
    "while.pb": {},
}
COMPARED = (
    "bilinear.keras@shaped",
    "GRU.keras",
    "SimpleRNN.keras",
    "LSTM.keras",
    "both.keras",
    "diagonal",
    "squeezed",
    "gathered",
    "nested",
    "tokens.keras",
    "default",
    "texts",
    "spectrum",
    "rows",
    "order",
    "counted",
    "scalar.pb",
    "old.pb@scalar",
    "while.pb",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, and what came of each."""
    where = tmp_path_factory.mktemp("odd")
    done = subprocess.run(
        [sys.executable, HERE / "odd_models.py", where, json.dumps(ASKED)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path.cwd(),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return where


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "outcomes.json").read_text()))


@pytest.mark.tf
@pytest.mark.parametrize("name", COMPARED)
def test_converted_and_compared_on_every_draw(outcomes: dict[str, Any], name: str) -> None:
    assert (outcomes[name]["code"], outcomes[name].get("draws")) == (0, 5), outcomes[name]
    assert outcomes[name]["worst"] < 1e-5


@pytest.mark.tf
def test_sources_are_judged_by_their_own_precision(outcomes: dict[str, Any]) -> None:
    for name, exactly in (("mixed.keras", 5e-3), ("cubic", 2e-3)):
        assert outcomes[name]["code"] == 0, outcomes[name]
        assert 1e-5 < outcomes[name]["worst"] <= exactly


@pytest.mark.tf
def test_what_is_not_compared_is_said(outcomes: dict[str, Any]) -> None:
    for name in ("shuffled", "drawn"):
        assert "draws random numbers" in outcomes[name]["unchecked"], outcomes[name]
    assert "--check-data" in outcomes["summed"]["unchecked"]
    assert any("output 't', which holds texts" in text for text in outcomes["texts"]["said"])
    assert any("keeps its default" in text for text in outcomes["default"]["said"])


@pytest.mark.tf
def test_refusals_lead_to_the_next_command(outcomes: dict[str, Any]) -> None:
    assert outcomes["custom.keras"]["code"] == 3
    assert outcomes["custom.keras"]["message"].endswith("needs code that is not in the file: pk>Scale")
    assert outcomes["bilinear.keras"]["code"] == 3
    assert "--input img:1,224,224,3" in outcomes["bilinear.keras"]["hint"]
    for name in ("counting", "before"):
        assert outcomes[name]["code"] == 3
        assert "changes a variable: the model keeps state between calls" in outcomes[name]["message"]
    assert outcomes["seeded"]["code"] == 3
    assert "StatelessRandomUniformV2 is not an ONNX operator" in outcomes["seeded"]["message"]
    assert outcomes["old.pb"]["code"] == 3
    assert "--input s: for a single value" in outcomes["old.pb"]["hint"]
    assert outcomes["flag.pb"]["code"] == 3
    assert "--constant is_training=false" in outcomes["flag.pb"]["hint"]


@pytest.mark.tf
def test_single_values_have_a_shape_without_dimensions(outcomes: dict[str, Any]) -> None:
    for name in ("scalar.pb", "old.pb@scalar"):
        assert outcomes[name]["inputs"]["s"] == []


@pytest.mark.tf
def test_positions_are_found_in_the_graph(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trtconv.core.records import SourceSpec; "
        "from trtconv.sources.tensorflow import frozen_pb, input_uses; "
        "print(input_uses.input_uses(frozen_pb.read(SourceSpec(Path(sys.argv[1])))))"
    )
    for name, use in (("rows", {"i": Use("position", 3)}), ("tokens", {"tokens": Use("position", 9)})):
        command = [sys.executable, "-c", code, folder / f"{name}.frozen.pb"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(use)


@pytest.mark.tf
def test_inputs_of_a_keras_file_are_known_without_keras(folder: Path) -> None:
    (tensors,) = describe.keras(folder / "tokens.keras").tensors
    assert [(info.name, info.dtype, info.shape) for info in tensors.inputs] == [
        ("tokens", "int32", ("batch", "tokens_dim1"))
    ]


def test_a_producers_name_is_no_meta_graph() -> None:
    assert not formats.is_saved_model(b"\x08\x01\x12\x07pytorch:\x00")
    assert formats.is_saved_model(b"\x08\x01\x12\x90\x03\x3a\x80\x01")

"""What every row of sources.FORMATS must answer. Its models come from the wing's tests: tests/sources/WING/tiny.py."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module, util
from pathlib import Path

import pytest

from tests.sources.outcomes import Outcome, wing_of
from trtconv import sources
from trtconv.core import child
from trtconv.core.records import SourceSpec
from trtconv.job.load import validate
from trtconv.job.yaml_tree import Tree
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.line import line

HEAVY = ("tensorflow", "tf2onnx", "tf_keras", "keras", "onnxruntime", "torch", "paddle", "paddle2onnx", "cv2")
NEEDS = {  # wing -> what it needs here
    "tensorflow": "tensorflow",
    "tflite": "tensorflow",
    "paddle": "paddle2onnx",
    "pytorch": "torch",
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of every format that can be made here."""
    found: dict[str, Path] = {}
    for wing in dict.fromkeys(map(wing_of, sources.FORMATS)):
        if util.find_spec(NEEDS.get(wing, "sys")) is not None:
            folder = tmp_path_factory.mktemp(wing)
            request = (wing, folder / "models")
            found |= child.call("tests.sources.outcomes:make", request, lambda _: None, folder / "log").value
    return found


@pytest.fixture
def model(name: str, made: dict[str, Path]) -> Path:
    if name not in made:
        pytest.skip(f"{NEEDS[wing_of(name)]} is not installed: trtconv doctor says how to")
    return made[name]


def truncated(model: Path, folder: Path) -> Path:
    """A copy with half of its largest file; a function has none but its code."""
    beside = sources.beside(model, sources.detect(model)).values()
    files = [model] if model.is_file() else [file for file in model.rglob("*") if file.is_file()]
    largest = max(files or beside, key=lambda file: file.stat().st_size)
    for file in {*files, *beside}:
        target = folder / file.relative_to(model.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = file.read_bytes()
        target.write_bytes(data[: len(data) // 2] if file == largest else data)
    return folder / model.name


@pytest.fixture(scope="module")
def judged(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Outcome]:
    """What becomes of every tiny model, whole and in three kinds of damage."""
    asked: dict[tuple[str, str], tuple[str, Path]] = {}
    for name, path in made.items():
        folder = tmp_path_factory.mktemp(name)
        bad = {kind: folder / kind / path.name for kind in ("foreign", "empty")}
        for file in bad.values():
            file.parent.mkdir()
        bad["foreign"].write_bytes(PNG)
        bad["empty"].touch()
        (folder / "truncated").mkdir()
        bad["truncated"] = truncated(path, folder / "truncated")
        asked |= {(name, kind): (name, file) for kind, file in {**bad, "whole": path}.items()}
    log = tmp_path_factory.mktemp("judged") / "log"
    found = child.call("tests.sources.outcomes:outcomes", list(asked.values()), lambda _: None, log).value
    return dict(zip(asked, found, strict=True))


def test_every_wing_brings_its_models() -> None:
    for name in sources.FORMATS:
        assert name in import_module(f"tests.sources.{wing_of(name)}.tiny").MODELS


@pytest.mark.parametrize("name", sources.FORMATS)
def test_recognised(name: str, model: Path) -> None:
    assert sources.detect(model).name == name


@pytest.mark.parametrize("name", sources.FORMATS)
def test_described_without_its_framework(name: str, model: Path) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))\n"
        f"from trtconv.cli.main import main; sys.argv[1:] = ['inspect', {str(model)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if sources.row(name).describe:
        assert done.returncode == 0, done.stderr
        assert str(model) in done.stdout
    else:
        assert done.returncode == 2
        assert "next:" in done.stderr


@pytest.mark.parametrize("name", sources.FORMATS)
def test_converted_and_compared(
    name: str, model: Path, judged: dict[tuple[str, str], Outcome], made: dict[str, Path]
) -> None:
    outcome = judged[name, "whole"]
    assert outcome.exit_code == 0, outcome.text
    assert outcome.compared or outcome.unchecked, "neither compared nor said why not"


@pytest.mark.parametrize("kind", ["truncated", "foreign", "empty"])
@pytest.mark.parametrize("name", sources.FORMATS)
def test_bad_files_are_refused_by_name(
    name: str, kind: str, model: Path, judged: dict[tuple[str, str], Outcome]
) -> None:
    row, outcome = sources.row(name), judged[name, kind]
    assert outcome.exit_code == 3, outcome
    known = {name, row.title.split(maxsplit=1)[1], row.plural.removesuffix("s")}
    assert any(word.lower() in outcome.text.lower() for word in known), outcome.text


@pytest.mark.parametrize("name", sources.FORMATS)
def test_verify_needs_no_framework_that_is_not_here(name: str, model: Path, tmp_path: Path) -> None:
    """A job that verifies is planned either with the source as reference, or with FP32 ONNX and the reason."""
    row = sources.row(name)
    missing = row.without_reference(SourceSpec(model, name))
    assert not (row.is_onnx and missing)
    data = tmp_path / "data.npz"
    data.touch()
    job = {"source": {"path": str(model)}, "precision": ["fp32"], "verify": {"data": {"path": str(data)}}}
    planned = line(
        validate(Tree({"version": 1, "name": "job", "output": "out", **job}), tmp_path, "job"),
        Layout(tmp_path / "out", "job"),
    )
    stages = [node.stage for node in planned]
    assert "verify" in stages
    assert ("reference" in stages) == (not row.is_onnx and not missing)

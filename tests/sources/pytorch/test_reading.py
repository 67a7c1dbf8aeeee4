"""PyTorch's files without PyTorch: recognised, described, refused. The archives are made by hand."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import pytest

from trtconv import sources
from trtconv.core.errors import SourceError
from trtconv.report.inspect import describe
from trtconv.report.starter import starter
from trtconv.sources.pytorch import archive

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def archived(path: Path, members: dict[str, bytes | str]) -> Path:
    """A zip with one folder on top, as PyTorch writes it."""
    with zipfile.ZipFile(path, "w") as made:
        for name, data in members.items():
            made.writestr(f"net/{name}", data)
    return path


def tensor(*sizes: int | str, dtype: int = 7) -> dict[str, object]:
    dims = [{"as_int": s} if isinstance(s, int) else {"as_expr": {"expr_str": s}} for s in sizes]
    return {"dtype": dtype, "sizes": dims}


def leaf(kind: str | None = None, context: object = None, *children: object) -> dict[str, object]:
    return {"type": kind, "context": None if context is None else json.dumps(context), "children_spec": list(children)}


def user(role: str, name: str) -> dict[str, object]:
    return {role: {"arg": {"as_tensor": {"name": name}}}}


def a_program(path: Path, **changes: object) -> Path:
    spec = leaf("builtins.dict", ["scores", "all"], leaf(), leaf("builtins.list", None, leaf(), leaf()))
    values = {"w": tensor(2, 3), "x": tensor("s77", 3), "ids": tensor("s77", "s9", dtype=5)}
    values |= {"mm": tensor("s77", 2), "add": tensor("s77", 2), "add_1": tensor(4)}
    targets = ("torch.ops.aten.mm.default", "torch.ops.aten.add.Tensor", "torch.ops.aten.add.Tensor")
    graph = {"nodes": [{"target": target} for target in targets], "tensor_values": values}
    weight = {"parameter": {"arg": {"name": "w"}, "parameter_name": "w"}}
    signature = {
        "input_specs": [weight, user("user_input", "x"), user("user_input", "ids")],
        "output_specs": [user("user_output", name) for name in ("mm", "add", "add_1")],
    }
    calls = [{"signature": {"out_spec": json.dumps([1, spec])}}]
    module = {"graph": graph, "signature": signature, "module_call_graph": calls}
    document = {"graph_module": module, "torch_version": "2.13.0", "schema_version": {"major": 8}, **changes}
    files = {"data/weights/weight_0": "12345678", "models/model.json": json.dumps(document), "archive_format": "pt2"}
    return archived(path, files)


CODE = """
class Inner(Module):
  def forward(self: __torch__.nets.Inner, y: Tensor) -> Tensor:
    return torch.neg(y)
class Net(Module):
  def forward(self: __torch__.nets.Net,
    x: Tensor,
    n: int=3,
    scale: Optional[Tensor]=None) -> Dict[str, Tensor]:
    _0 = torch.relu(torch.linear(x, x))
    return _0
"""


def a_script(path: Path) -> Path:
    data = b"\x80\x02c__torch__.nets\nNet\n)\x81."
    return archived(path, {"data/0": b"1234", "data.pkl": data, "code/__torch__/nets.py": CODE})


def a_checkpoint(path: Path, value: object) -> Path:
    return archived(path, {"data.pkl": pickle.dumps(value, protocol=2), "data/0": b"1234"})


def a_legacy_checkpoint(path: Path, value: object) -> Path:
    path.write_bytes(b"".join(pickle.dumps(one, protocol=2) for one in (LEGACY_MAGIC, 1001, {}, value, [])))
    return path


def safetensors(path: Path) -> Path:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return path


WEIGHTS = OrderedDict(weight=[1.0], bias=[2.0])


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("torch_export", a_program),
        ("torchscript", a_script),
        ("torch_pickle", lambda path: a_checkpoint(path, WEIGHTS)),
        ("torch_pickle", lambda path: a_legacy_checkpoint(path, WEIGHTS)),
    ],
)
@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".bin"])
def test_recognised_by_content_whatever_the_name(tmp_path, name, make, suffix):
    assert sources.detect(make(tmp_path / f"net{suffix}")).name == name


def test_an_exported_program_tells_its_inputs_outputs_and_operators(tmp_path):
    facts, text = describe(a_program(tmp_path / "net.pt2"))
    assert [(one["name"], one["dtype"], one["shape"]) for one in facts["inputs"]] == [
        ("x", "float", ("batch", 3)),
        ("ids", "int64", ("batch", "ids_1")),
    ]
    assert [(one["name"], one["shape"]) for one in facts["outputs"]] == [
        ("scores", ("batch", 2)),
        ("all_0", ("batch", 2)),
        ("all_1", (4,)),
    ]
    assert facts["nodes"] == {"aten.add.Tensor": 2, "aten.mm": 1}
    assert facts["weights"] == 8
    assert "program exported by PyTorch 2.13.0" in text


def test_torchscript_tells_its_arguments_and_what_it_calls(tmp_path):
    facts, text = describe(a_script(tmp_path / "net.pt"))
    assert [one["name"] for one in facts["inputs"]] == ["x", "scale"]
    assert facts["calls"] == {"neg": 1, "relu": 1, "linear": 1}
    assert facts["class"] == "nets.Net"
    assert "TorchScript of nets.Net" in text


def test_a_pickle_is_not_loaded_to_tell_what_it_holds(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    for make in (a_checkpoint, a_legacy_checkpoint):
        path = make(tmp_path / "net.pth", {"model": Fraction(1, 2), "trap": Trap()})
        assert {"fractions.Fraction", "pathlib.Path.touch"} & set(describe(path)[0]["classes"])
        assert archive.code_of(make(tmp_path / "weights.pth", WEIGHTS)) == []
    assert not (tmp_path / "ran").exists()


def test_the_file_of_a_function_is_parsed_and_not_run(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom x import borrowed\nclass Net: pass\ndef make():\n    1 / 0\nraise SystemExit\n"
    )
    facts, text = describe(tmp_path / "nets:make")
    assert facts["definitions"] == {"class": 1, "function": 1}
    assert facts["files"] == [str(tmp_path / "nets.py")]
    assert "make of nets.py" in text
    assert describe(tmp_path / "nets.py:borrowed")[0]["function"] == "borrowed"
    with pytest.raises(SourceError, match="defines no 'mak'") as caught:
        describe(tmp_path / "nets:mak")
    assert caught.value.hint == "did you mean 'make'?"
    assert "which is not here" in describe(tmp_path / "elsewhere.nets:make")[1]


def test_code_of_a_package_is_all_of_it(tmp_path):
    (tmp_path / "pack/inner").mkdir(parents=True)
    for name in ("pack/__init__.py", "pack/nets.py", "pack/inner/__init__.py", "pack/inner/parts.py"):
        (tmp_path / name).write_text("")
    row = sources.row("torch_module")
    assert sources.beside(tmp_path / "pack.nets:make", row).keys() == {
        "pack/__init__.py",
        "pack/nets.py",
        "pack/inner/__init__.py",
        "pack/inner/parts.py",
    }
    assert sources.file_of(tmp_path / "pack.nets:make", row) == tmp_path / "pack/nets.py"


@pytest.mark.parametrize("make", [a_program, a_script, lambda path: a_checkpoint(path, WEIGHTS)])
def test_an_archive_without_its_end_is_named(tmp_path, make):
    path = make(tmp_path / "net.pt")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"(torch_export|torchscript|torch_pickle) archive that is cut off") as caught:
        sources.detect(path)
    assert caught.value.hint == "copy it again"


def test_damage_inside_an_archive_is_an_error_of_the_source(tmp_path):
    with pytest.raises(SourceError, match="of another form"):
        describe(a_program(tmp_path / "net.pt2", graph_module={"graph": {}}))
    with pytest.raises(SourceError, match="is damaged"):
        describe(archived(tmp_path / "text.pt2", {"models/model.json": "{", "archive_format": "pt2"}))
    with pytest.raises(SourceError, match="with 0 programs"):
        describe(archived(tmp_path / "none.pt2", {"archive_format": "pt2"}))
    with pytest.raises(SourceError, match="pickle is damaged"):
        describe(archived(tmp_path / "net.pth", {"data.pkl": b"\x80\x02c__main__\n"}))


def test_weights_alone_are_told_what_they_need(tmp_path, trtconv):
    safetensors(tmp_path / "net.safetensors")
    a_checkpoint(tmp_path / "net.pth", WEIGHTS)
    a_legacy_checkpoint(tmp_path / "old.pth", WEIGHTS)
    for name in ("net.safetensors", "net.pth", "old.pth"):
        done = trtconv("convert", name, "-o", "net.onnx")
        assert done.returncode == 3, done.stderr
        assert f"module:function --weights {tmp_path / name}" in done.stderr


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (a_program, "loading a .pt2 runs what it holds"),
        (lambda path: a_checkpoint(path, {"net": Fraction(1, 2)}), "a pickle of fractions.Fraction"),
        (lambda path: path.with_name("nets.py").write_text("def make(): ..."), "is Python code, run with your rights"),
    ],
)
def test_what_runs_code_says_so_and_needs_permission(tmp_path, trtconv, make, said):
    made = make(tmp_path / "net.bin")
    done = trtconv("convert", made if isinstance(made, Path) else "nets:make", "-o", "net.onnx")
    assert done.returncode == 3
    assert said in done.stderr
    assert "allow it with --allow-code" in done.stderr


def test_what_a_first_job_says(tmp_path):
    (tmp_path / "nets.py").write_text("def make(): ...\n")
    text = starter(tmp_path / "nets:make", tmp_path)
    assert "path: nets:make\n" in text
    assert "--allow-code" in text
    text = starter(a_script(tmp_path / "net.pt"), tmp_path)
    assert "#  x: {shape: [batch, 3, 224, 224]" in text
    assert "fixed shapes" not in text
    assert "shape: [batch, 3]" in starter(a_program(tmp_path / "net.pt2"), tmp_path)


def test_types_of_inputs_are_for_sources_that_do_not_say_them(tmp_path, trtconv):
    (tmp_path / "graph.pbtxt").write_text('node {\n  name: "x"\n  op: "Placeholder"\n}\n')
    done = trtconv("convert", "graph.pbtxt", "-o", "net.onnx", "--input", "x:batch,4:int64")
    assert done.returncode == 2
    assert "inputs.x.dtype is for sources that do not say the types" in done.stderr


def test_a_function_that_is_a_file_is_a_file(tmp_path):
    (tmp_path / "odd:name").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SourceError, match="PNG"):
        sources.detect(tmp_path / "odd:name")

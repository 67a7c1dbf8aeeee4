"""Paddle's files, read and written without Paddle: programs, parameters, which files belong together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sources.paddle.programs import Writer, perceptron, pir_perceptron
from trtconv import sources
from trtconv.core.errors import SourceError
from trtconv.core.records import SourceSpec
from trtconv.sources.paddle import cutting, files, network, parameters, pir, program, program_file, upgrade
from trtconv.sources.paddle.program import Attribute, Operator


def every_kind() -> Writer:
    net = Writer(2_002_002)
    net.feed("x", (-1, 3))
    net.one(
        "scale",
        {"X": "x"},
        "y",
        (-1, 3),
        f=-1.5,
        i=-7,
        s="text",
        b=True,
        ints=[-1, 2**31 - 1],
        floats=[0.5, 2.0],
        texts=Attribute(program.STRINGS, ("a", "b")),
        bools=Attribute(program.BOOLEANS, (True, False)),
        long=Attribute(program.LONG, -(2**40)),
        longs=Attribute(program.LONGS, (1, -(2**50))),
        doubles=Attribute(program.FLOAT64S, (0.1, -3.0)),
        double=Attribute(program.FLOAT64, 0.1),
        block=Attribute(program.BLOCK, 0),
        var=Attribute(program.VAR, "x"),
        empty=Attribute(program.INTS, ()),
        scalar=Attribute(program.SCALAR, b"\x08\x01"),
    )
    net.fetch("y")
    return net


def test_a_program_survives_writing_and_reading() -> None:
    written = every_kind().program
    read = program_file.read(program_file.write(written), "p")
    assert read.main.operators[1].attributes["scalar"] == Attribute(program.SCALAR, b"\x08\x01")
    assert (read.version, read.main.operators) == (written.version, written.main.operators)
    assert read.main.variables["x"] == written.main.variables["x"]
    assert program_file.write(read) == program_file.write(written)


def test_numbers_that_are_packed_are_read_too() -> None:
    data = b"\x0a\x3a\x08\x00\x10" + b"\xff" * 9 + b"\x01"
    attribute = b"\x0a\x01f\x10\x04\x3a\x08" + np.array([1, 2], "<f4").tobytes()
    op = b"\x1a\x05scale\x22" + bytes([len(attribute)]) + attribute
    block = data[2:] + b"\x22" + bytes([len(op)]) + op
    read = program_file.read(b"\x0a" + bytes([len(block)]) + block, "p")
    assert read.main.operators == [Operator("scale", {}, {}, {"f": Attribute(program.FLOATS, (1.0, 2.0))})]
    assert (read.main.index, read.main.parent) == (0, -1)


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_damaged_program(cut: int, tmp_path: Path) -> None:
    data = program_file.write(every_kind().program)
    with pytest.raises(SourceError, match="Paddle program"):
        program_file.read(data[:cut], "p")


def test_parameters_of_every_type(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kinds = ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool")
    arrays = {f"w_{kind}": random.uniform(0, 2, (2, 3)).astype(kind) for kind in kinds}
    arrays["scalar"] = np.array(2.5, np.float32)
    path = tmp_path / "all.pdiparams"
    path.write_bytes(b"".join(parameters.record(arrays[name]) for name in sorted(arrays)))
    found = parameters.tensors_of(path)
    assert [t.array().tolist() for t in found] == [arrays[name].tolist() for name in sorted(arrays)]
    parameters.combine(dict(zip(sorted(arrays), found, strict=True)), tmp_path / "again")
    again = parameters.tensors_of(tmp_path / "again")
    full = {"float16": np.dtype("float32")}
    assert [t.array().dtype for t in again] == [full.get(str(a.dtype), a.dtype) for _, a in sorted(arrays.items())]
    assert [t.array().tolist() for t in again] == [t.array().tolist() for t in found]


def test_bytes_of_a_parameter_as_paddle_writes_them() -> None:
    assert parameters.record(np.zeros(200, np.float32))[:25].hex() == (
        "0000000000000000000000000000000005000000080510c801"
    )


def test_levels_of_detail_are_stepped_over(tmp_path: Path) -> None:
    plain = parameters.record(np.arange(4, dtype=np.float32))
    lod = (1).to_bytes(8, "little") + (16).to_bytes(8, "little") + bytes(16)
    (tmp_path / "w").write_bytes(plain[:4] + lod + plain[12:])
    assert parameters.tensors_of(tmp_path / "w")[0].array().tolist() == [0, 1, 2, 3]


def test_which_files_belong_together(tmp_path: Path) -> None:
    separate = perceptron(tmp_path / "separate")
    combined = perceptron(tmp_path / "combined", "combined")
    modern = perceptron(tmp_path / "modern", "pdmodel", 2_003_000)
    for path in (separate.parent, separate, combined.parent, combined, modern.parent, modern):
        assert sources.detect(path).name == "paddle", path
        assert sources.row("paddle").recognises(path, path.read_bytes()[:4096] if path.is_file() else b"")
        assert len(network.read(files.find(path)).tensors()) == 4
    names = {path: sorted(file.name for file in files.beside(path)) for path in (separate, combined, modern)}
    assert names[separate] == ["fc_0.b_0", "fc_0.w_0", "fc_1.b_0", "fc_1.w_0"]
    assert (names[combined], names[modern]) == (["__params__"], ["model.pdiparams"])


def test_pir_is_read_and_written_in_parts(tmp_path: Path) -> None:
    path = pir_perceptron(tmp_path)
    assert sources.detect(path).name == "paddle"
    found = network.read(files.find(path))
    assert found.program.feeds() == ["image"]
    assert found.program.fetches() == ["fetch_name_0"]
    assert found.operators() == {"flatten": 1, "matmul": 1, "add": 1, "tanh": 1}
    part = cutting.cut(found.program, ["add_0"])
    again = pir.read(found.bytes_of_part(part), "part").program
    assert (again.feeds(), again.fetches()) == (["image"], ["add_0"])
    assert [op.type for op in again.main.operators] == ["feed", "flatten", "matmul", "add", "fetch"]
    assert [(var.name, var.shape) for var in again.weights()] == [("linear_0.b_0", (5,)), ("linear_0.w_0", (36, 5))]
    middle = cutting.cut(found.program, ["fetch_name_0"], ["add_0"])
    again = pir.read(found.bytes_of_part(middle), "part").program
    assert (again.feeds(), again.weights()) == (["add_0"], [])


def test_pir_of_paddle_3_3_is_written_as_the_converter_reads_it(tmp_path: Path) -> None:
    path = pir_perceptron(tmp_path)
    damaged(path, version=4)
    whole = json.loads(path.read_text())
    slope = {"AT": {"#": "0.a_f64", "D": 0.3}, "N": "negative_slope"}
    whole["program"]["regions"][0]["blocks"][0]["ops"][6]["A"].append(slope)
    path.write_text(json.dumps(whole, separators=(",", ":")))
    found = network.read(files.find(path))
    part = cutting.cut(found.program, found.program.fetches())
    assert b"0.a_f64" in found.bytes_of_part(part)
    assert b"0.a_f64" not in found.bytes_of_part(part, converted=True)


def test_lists_of_values_belong_to_the_operator_that_made_them(tmp_path: Path) -> None:
    """``distribute_fpn_proposals`` of Paddle 3 makes a list, which the next operator takes apart."""
    path = pir_perceptron(tmp_path)
    whole = json.loads(path.read_text())
    ops = whole["program"]["regions"][0]["blocks"][0]["ops"]
    (last,) = (op for op in ops if op["#"] == "1.tanh")
    made = last["O"][0]
    vector = {"%": 50, "TT": {"#": "0.t_vec", "D": [made["TT"], made["TT"]]}}
    parts = [{"%": 51, "TT": made["TT"]}, made]
    last |= {"#": "1.strange", "O": [vector]}
    ops.insert(ops.index(last) + 1, {"#": "0.split", "A": [], "I": [{"%": 50}], "O": parts, "OA": last["OA"]})
    path.write_text(json.dumps(whole, separators=(",", ":")))
    found = network.read(files.find(path))
    assert [op.type for op in found.program.main.operators] == ["feed", "flatten", "matmul", "add", "strange", "fetch"]
    assert found.program.main.operators[4].outputs == {"0": ["builtin_split_0", "fetch_name_0"]}
    after = cutting.cut(found.program, ["fetch_name_0"], ["fetch_name_0", "builtin_split_0"])
    assert after.feeds() == ["fetch_name_0"]


def test_variables_that_are_written_twice_get_names_of_their_own() -> None:
    net = Writer()
    net.feed("x", (-1, 3))
    for scale in (2.0, 3.0):
        net.op("scale", {"X": "x"}, {"Out": "x"}, scale=scale)
    net.one("relu", {"X": "x"}, "y", (-1, 3))
    net.op("tanh", {"X": "y"}, {"Out": "y"})
    net.fetch("y")
    ops = cutting.single_assignment(net.program).main.operators
    made = [name for op in ops if op.type != "fetch" for name in op.makes()]
    assert len(set(made)) == len(made)
    assert (made[0], made[-1]) == ("x", "y")
    assert [op.reads() for op in ops[1:]] == [[name] for name in made]


def test_what_cannot_be_had_is_cut_off() -> None:
    net = Writer()
    net.feed("x", (-1, 3)), net.feed("other", (-1, 3))
    net.one("relu", {"X": "x"}, "a", (-1, 3))
    net.one("fill_constant", {}, "c", (3,), value=1.0)
    net.op("strange", {"X": ["a", "other", "c"]}, {"Out": net.variable("s", (-1, 3))})
    net.one("tanh", {"X": "s"}, "t", (-1, 3))
    net.one("sigmoid", {"X": "a"}, "b", (-1, 3))
    net.fetch("t", "b")
    cut = cutting.frontier(net.program, lambda op: op.type != "strange")
    assert cut == cutting.Cut(("b", "a"), ("strange (1)",), 1)
    part = cutting.cut(net.program, cut.outputs)
    assert (part.feeds(), part.fetches()) == (["x"], ["b", "a"])
    assert sorted(part.main.variables) == ["a", "b", "feed", "fetch", "x"]
    assert [op.get("col") for op in part.main.operators if op.type == "fetch"] == [0, 1]
    with pytest.raises(SourceError, match="nothing is left without relu"):
        cutting.frontier(net.program, lambda op: op.type not in ("relu", "sigmoid", "strange"))


def test_operators_of_paddle_1_get_todays_names_and_attributes() -> None:
    net = Writer()
    net.feed("x", (-1, 3, 4))
    net.one("flatten", {"X": "x"}, "a", (-1, 12), axis=1)
    net.one("softmax", {"X": "a"}, "b", (-1, 12))
    net.one("flatten2", {"X": "b"}, "c", (1, -1), axis=0)
    net.one("pool2d", {"X": "x"}, "d", (-1, 3, 4), exclusive=False)
    ops = {op.makes()[0]: op for op in upgrade.upgrade(net.program).main.operators[1:]}
    assert [op.type for op in ops.values()] == ["flatten2", "softmax", "reshape2", "pool2d"]
    assert (ops["b"].get("axis"), ops["c"].get("shape")) == (-1, (1, -1))
    assert (ops["d"].get("exclusive"), ops["d"].get("padding_algorithm")) == (False, "EXPLICIT")
    assert "axis" not in net.program.main.operators[2].attributes


def damaged(path: Path, **changes: Any) -> None:
    whole = json.loads(path.read_text())
    whole["base_code"] |= changes
    path.write_text(json.dumps(whole, separators=(",", ":")))


def test_pir_of_another_version_and_a_damaged_one(tmp_path: Path) -> None:
    path = pir_perceptron(tmp_path)
    text = path.read_text()
    damaged(path, version=99)
    with pytest.raises(SourceError, match="format version 99"):
        network.read(files.find(path))
    path.write_text(text[: len(text) // 2])
    with pytest.raises(SourceError, match="damaged Paddle program"):
        network.read(files.find(path))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("gone", "no such file, so the program has no parameters"),
        ("truncated", "parameters are damaged or truncated at byte"),
        ("foreign", "not a file of Paddle's parameters"),
        ("another", "it holds 2 parameters, the program has 4; none for fc_1.b_0, fc_1.w_0"),
        ("shapes", r"parameters of another network: fc_0.b_0 is float \[15\], the program has float \[16\]"),
        ("empty", "it holds 0 parameters, the program has 4"),
    ],
)
def test_parameters_that_do_not_belong_to_the_program(spoil: str, says: str, tmp_path: Path) -> None:
    path = perceptron(tmp_path, "pdmodel")
    beside = path.with_suffix(".pdiparams")
    data = beside.read_bytes()
    record = parameters.record
    spoilt = {
        "truncated": data[:-8],
        "foreign": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "empty": b"",
        "another": record(np.zeros(16, np.float32)) + record(np.zeros((36, 16), np.float32)),
        "shapes": record(np.zeros(15, np.float32)) + data[len(record(np.zeros(16, np.float32))) :],
    }
    beside.unlink() if spoil == "gone" else beside.write_bytes(spoilt[spoil])
    with pytest.raises(SourceError, match=says) as caught:
        network.read(files.find(path)).tensors()
    assert caught.value.hint


def test_a_folder_without_one_of_its_parameters(tmp_path: Path) -> None:
    path = perceptron(tmp_path)
    (tmp_path / "fc_0.b_0").unlink(), (tmp_path / "fc_1.w_0").unlink()
    with pytest.raises(SourceError, match=r"no parameters for fc_0\.b_0, fc_1\.w_0"):
        network.read(files.find(path)).tensors()


def test_a_folder_with_two_programs(tmp_path: Path) -> None:
    perceptron(tmp_path, "pdmodel"), pir_perceptron(tmp_path)
    with pytest.raises(SourceError, match=r"model\.pdmodel, model\.json"):
        sources.row("paddle").open_model(SourceSpec(tmp_path))


def test_a_program_for_training(tmp_path: Path) -> None:
    net = every_kind()
    net.block.operators = [op for op in net.block.operators if op.type != "feed"]
    with pytest.raises(SourceError, match="a program without inputs: it was saved for training"):
        network.read(files.find(net.save(tmp_path)))


@pytest.mark.parametrize("make", [perceptron, pir_perceptron])
def test_inspect_and_init(make: Any, tmp_path: Path, trtconv: Any) -> None:
    path = make(tmp_path / "net")
    seen = trtconv("inspect", path)
    assert seen.returncode == 0, seen.stderr
    assert "Paddle" in seen.stdout
    assert "image" in seen.stdout
    assert "float" in seen.stdout
    assert "tanh" in seen.stdout
    told = json.loads(trtconv("inspect", path.parent, "--json").stdout)
    assert told["kind"] == "paddle"
    started = trtconv("init", path, "-o", "job.yaml")
    assert started.returncode == 0, started.stderr
    checked = trtconv("check", "job.yaml")
    assert checked.returncode == 0, checked.stderr
    shutil.rmtree(path.parent)


def test_parameters_that_are_not_saved(tmp_path: Path) -> None:
    """``nn.GRU`` of Paddle 3 has a state of its dropout, which is a parameter and in no file."""
    path = pir_perceptron(tmp_path)
    whole = json.loads(path.read_text())
    ops = whole["program"]["regions"][0]["blocks"][0]["ops"]
    result = {"%": 90, "TT": {"#": "0.t_dtensor", "D": [{"#": "0.t_ui8"}, [], "NCHW", [], 0]}}
    ops.insert(0, {"#": "p", "A": [0, 1, 1, "state"], "DA": [], "O": result, "OA": [0, 1, 0], "QA": []})
    path.write_text(json.dumps(whole, separators=(",", ":")))
    assert sorted(network.read(files.find(path)).tensors()) == ["linear_0.b_0", "linear_0.w_0"]


def test_what_a_branch_reads_is_read_by_its_operator(tmp_path: Path) -> None:
    """A model that ends before an ``if`` of Paddle 3 gives all that its branches need, not the condition alone."""
    path = pir_perceptron(tmp_path)
    document = json.loads(path.read_text())
    operations = document["program"]["regions"][0]["blocks"][0]["ops"]
    fetch, tanh = operations.pop(), operations[-1]

    def result(value: int) -> dict[str, Any]:
        return {**tanh["O"][0], "%": value}

    scale = {"#": "1.scale", "A": [], "I": [{"%": 5}, {"%": 90}], "O": [result(91)], "OA": tanh["OA"]}
    inner = {"#": "1.if", "A": [], "I": [{"%": 90}], "O": [result(92)], "OA": tanh["OA"]}
    inner["regions"] = [{"#": "r", "blocks": [{"#": "b", "args": [], "ops": [{**scale, "I": [{"%": 6}]}]}]}]
    region = {"#": "region_1", "blocks": [{"#": "block_1", "args": [], "ops": [scale, inner]}]}
    branch = {"#": "1.if", "A": [], "I": [{"%": 7}], "O": [result(8)], "OA": tanh["OA"], "regions": [region]}
    fetch["I"] = [{"%": 8}]
    operations += [branch, fetch]
    path.write_text(json.dumps(document, separators=(",", ":")))
    program = network.read(files.find(tmp_path)).program
    assert program.main.operators[-2].reads() == ["tanh_0", "matmul_0", "add_0"]
    assert cutting.frontier(program, lambda op: op.type != "if").outputs == ("tanh_0", "matmul_0", "add_0")

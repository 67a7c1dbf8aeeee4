"""Paddle models for tests, written operator by operator with trtconv's own writer: no Paddle is needed to make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.sources.paddle import parameters, program, program_file
from trtconv.sources.paddle.program import Attribute, Operator, Program, Variable

DTYPES = {"float32": 5, "int64": 3, "int32": 2, "float64": 6, "bool": 0}


class Writer:
    """A program under construction; every method that adds an operator returns the name of what it makes."""

    def __init__(self, version: int = 0, seed: int = 0) -> None:
        self.program = Program(version=version)
        self.weights: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(seed)
        self.block = self.program.main
        self.block.variables["feed"] = Variable("feed", program.FEED_LIST, persistable=True)
        self.block.variables["fetch"] = Variable("fetch", program.FETCH_LIST, persistable=True)

    def variable(self, name: str, shape: tuple[int, ...] = (), dtype: str = "float32", lod: int = 0) -> str:
        self.block.variables[name] = Variable(name, dtype=DTYPES[dtype], shape=shape, lod=lod)
        return name

    def feed(self, name: str, shape: tuple[int, ...], dtype: str = "float32", lod: int = 0) -> str:
        col = sum(op.type == "feed" for op in self.block.operators)
        self.op("feed", {"X": "feed"}, {"Out": name}, col=col)
        return self.variable(name, shape, dtype, lod)

    def fetch(self, *names: str) -> None:
        for col, name in enumerate(names):
            self.op("fetch", {"X": name}, {"Out": "fetch"}, col=col)

    def weight(self, name: str, array: Any) -> str:
        self.weights[name] = np.asarray(array)
        number = DTYPES[str(self.weights[name].dtype)]
        self.block.variables[name] = Variable(name, dtype=number, shape=self.weights[name].shape, persistable=True)
        return name

    def normal(self, name: str, *shape: int, scale: float = 1.0) -> str:
        return self.weight(name, (self.random.standard_normal(shape) * scale).astype(np.float32))

    def op(self, kind: str, inputs: dict[str, Any], outputs: dict[str, Any], **attributes: Any) -> str:
        listed = [
            {key: [names] if isinstance(names, str) else list(names) for key, names in table.items()}
            for table in (inputs, outputs)
        ]
        typed = {
            name: value if isinstance(value, Attribute) else typed_value(value) for name, value in attributes.items()
        }
        self.block.operators.append(Operator(kind, *listed, typed))
        return listed[1][next(iter(listed[1]))][0]

    def one(
        self, kind: str, inputs: dict[str, Any], name: str, shape: tuple[int, ...], out: str = "Out", **attributes: Any
    ) -> str:
        """An operator with one output, which is declared."""
        self.variable(name, shape)
        return self.op(kind, inputs, {out: name}, **attributes)

    def save(self, folder: Path, form: str = "pdmodel", name: str = "model") -> Path:
        """The path of the program; ``form``: pdmodel, ``combined`` (1.x) or ``separate`` (1.x)."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (f"{name}.pdmodel" if form == "pdmodel" else "__model__")
        path.write_bytes(program_file.write(self.program))
        if form == "separate":
            for weight, array in self.weights.items():
                (folder / weight).write_bytes(parameters.record(array))
        elif self.weights:
            combined = b"".join(parameters.record(self.weights[weight]) for weight in sorted(self.weights))
            (folder / (f"{name}.pdiparams" if form == "pdmodel" else "__params__")).write_bytes(combined)
        return path


def typed_value(value: Any) -> Attribute:
    """An attribute of the kind that a Python value has."""
    if isinstance(value, bool):
        return Attribute(program.BOOLEAN, value)
    if isinstance(value, int):
        return Attribute(program.INT, value)
    if isinstance(value, float):
        return Attribute(program.FLOAT, value)
    if isinstance(value, str):
        return Attribute(program.STRING, value)
    whole = all(isinstance(item, int) for item in value)
    return Attribute(program.INTS if whole else program.FLOATS, tuple(value))


def perceptron(folder: Path, form: str = "separate", version: int = 0) -> Path:
    """mul, add, tanh, mul, add, softmax, as Paddle 1 wrote it: softmax has no axis."""
    net = Writer(version)
    net.feed("image", (-1, 1, 6, 6))
    net.normal("fc_0.w_0", 36, 16, scale=0.2), net.normal("fc_0.b_0", 16)
    net.normal("fc_1.w_0", 16, 5, scale=0.3), net.normal("fc_1.b_0", 5)
    hidden = net.one("mul", {"X": "image", "Y": "fc_0.w_0"}, "fc_0.tmp_0", (-1, 16), x_num_col_dims=1, y_num_col_dims=1)
    hidden = net.one("elementwise_add", {"X": hidden, "Y": "fc_0.b_0"}, "fc_0.tmp_1", (-1, 16), axis=1)
    hidden = net.one("tanh", {"X": hidden}, "fc_0.tmp_2", (-1, 16))
    hidden = net.one("mul", {"X": hidden, "Y": "fc_1.w_0"}, "fc_1.tmp_0", (-1, 5), x_num_col_dims=1, y_num_col_dims=1)
    hidden = net.one("elementwise_add", {"X": hidden, "Y": "fc_1.b_0"}, "fc_1.tmp_1", (-1, 5), axis=1)
    net.fetch(net.one("softmax", {"X": hidden}, "prob", (-1, 5)))
    return net.save(folder, form)


def pir_perceptron(folder: Path) -> Path:
    """flatten, matmul, add, tanh in the form of Paddle 3."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    weights = {"linear_0.w_0": random.standard_normal((36, 5)), "linear_0.b_0": random.standard_normal(5)}

    def result(value: int, shape: list[int]) -> dict[str, Any]:
        return {"%": value, "TT": {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, shape, "NCHW", [], 0]}}

    def entry(kind: str, operands: list[int], out: dict[str, Any], **attributes: tuple[str, Any]) -> dict[str, Any]:
        listed = [{"AT": {"#": form, "D": value}, "N": name} for name, (form, value) in attributes.items()]
        stop = {"AT": {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": False}]}, "N": "stop_gradient"}
        return {"#": kind, "A": listed, "I": [{"%": value} for value in operands], "O": [out], "OA": [stop]}

    operations = [
        {"#": "p", "A": [0, 1, 1, "linear_0.b_0"], "DA": [], "O": result(1, [5]), "OA": [1, 0, 1], "QA": []},
        {"#": "p", "A": [0, 1, 1, "linear_0.w_0"], "DA": [], "O": result(2, [36, 5]), "OA": [1, 0, 1], "QA": []},
        entry(
            "1.data",
            [],
            result(3, [-1, 1, 6, 6]),
            name=("0.a_str", "image"),
            shape=("1.a_intarray", [-1, 1, 6, 6]),
            dtype=("1.a_dtype", "float32"),
            place=("1.a_place", [0, 0, ""]),
        ),
        entry("1.flatten", [3], result(4, [-1, 36]), start_axis=("0.a_i32", 1), stop_axis=("0.a_i32", 3)),
        entry("1.matmul", [4, 2], result(5, [-1, 5]), transpose_x=("0.a_bool", False), transpose_y=("0.a_bool", False)),
        entry("1.add", [5, 1], result(6, [-1, 5])),
        entry("1.tanh", [6], result(7, [-1, 5])),
        entry("1.fetch", [7], result(8, [-1, 5]), name=("0.a_str", "fetch_name_0"), col=("0.a_i32", 0)),
    ]
    operations[-1]["OA"].insert(0, {"AT": {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}]}, "N": "persistable"})
    region = {"#": "region_0", "blocks": [{"#": "block_0", "args": [], "ops": operations}]}
    document = {"base_code": {"magic": "pir", "trainable": True, "version": 3}, "program": {"regions": [region]}}
    (folder / "model.json").write_text(json.dumps(document, separators=(",", ":")))
    records = [parameters.record(weights[name].astype(np.float32)) for name in sorted(weights)]
    (folder / "model.pdiparams").write_bytes(b"".join(records))
    return folder / "model.json"

"""Paddle's PIR programs in JSON, which Paddle 3 writes, seen as older programs, and written in parts.

The document is ``base_code`` (magic, version) and ``program.regions[0].blocks[0].ops``. An operator has a name ``#``
with a dialect in front (``1.conv2d``; ``p`` is a parameter), attributes ``A``, operands ``I`` and results ``O``,
which are numbered values ``%`` with a type ``TT``. Values have no names: outputs are called as they are fetched,
others after the operator that makes them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trtconv.core.errors import SourceError
from trtconv.sources.paddle.program import (
    BOOLEAN,
    DENSE_TENSOR,
    FEED_LIST,
    FETCH_LIST,
    FLOAT,
    INT,
    INTS,
    STRING,
    Attribute,
    Block,
    Operator,
    Program,
    Variable,
)

VERSIONS = (3, 4)
"""Of the format: Paddle 3.2 writes 3, Paddle 3.3 writes 4."""

_DTYPES = {"bool": 0, "i16": 1, "i32": 2, "i64": 3, "f16": 4, "f32": 5, "f64": 6, "ui8": 20, "i8": 21, "bf16": 22}
_DATA, _FETCH = "1.data", "1.fetch"


@dataclass(frozen=True)
class Document:
    """A file.

    Attributes:
        program: what it says, in the form of older files; operators as in PIR, their inputs and outputs numbered.
        json: as it is.
        values: number of each variable.
        makers: the operators that make each variable, by their places in the file, its own last; parameters too.
    """

    program: Program
    json: dict[str, Any]
    values: dict[str, int]
    makers: dict[str, tuple[int, ...]]

    @property
    def version(self) -> int:
        """Of the format."""
        return int(self.json["base_code"].get("version", 0))


def looks_like(start: bytes) -> bool:
    """Whether bytes begin like such a document."""
    text = b"".join(start[:400].split())
    return text.startswith(b'{"base_code":{') and b'"magic":"pir"' in text


def read(data: bytes, what: str) -> Document:
    """A document from the bytes of its file.

    Args:
        data: the file.
        what: how to call it in errors.

    Raises:
        SourceError: truncated, damaged, foreign, or of a version that is not known.
    """
    try:
        found = json.loads(_full_precision(data))
        version = found["base_code"].get("version")
        if version not in VERSIONS:
            raise SourceError(
                f"{what}: a Paddle program of format version {version}; {VERSIONS} are known",
                hint="save it with Paddle 3.2",
            )
        return _document(found)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SourceError(
            f"{what}: a damaged Paddle program: {error}", hint="copy it again from where it was saved"
        ) from None


def _full_precision(data: bytes) -> bytes:
    """Half precision read as float32: precision is chosen later."""
    for half in (b"f16", b"bf16"):
        data = data.replace(b'"0.t_%s"' % half, b'"0.t_f32"')
    return data.replace(b'"D":"float16"', b'"D":"float32"').replace(b'"D":"bfloat16"', b'"D":"float32"')


def convertible(data: bytes, version: int) -> bytes:
    """A file as paddle2onnx 2.1 reads it: of version 4 it passes over attributes that are doubles, and uses others."""
    return data.replace(b'"0.a_f64"', b'"0.a_f32"') if version > VERSIONS[0] else data


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["program"]["regions"][0]["blocks"][0]["ops"]
    return found


def _document(document: dict[str, Any]) -> Document:
    names, makers, block, counts = dict[int, str](), dict[str, tuple[int, ...]](), Block(), Counter[str]()
    public = {
        entry["I"][0]["%"]: str(_attribute_of(entry, "name"))
        for entry in reversed(_operations(document))
        if entry["#"] == _FETCH
    }
    for place, entry in enumerate(_operations(document)):
        results = _results(entry)
        short = _short(entry["#"])
        for position, result in enumerate(results):
            name = public.get(result["%"]) or _name(entry, short, counts[short], position)
            names[result["%"]] = name
            makers[name] = (place,)
            block.variables[name] = _variable(name, result, persistable=_saved(entry))
        counts[short] += 1
        if entry["#"] != "p":
            _append(block, makers, _operator(entry, short, names, [names[result["%"]] for result in results]))
    block.variables |= {"feed": Variable("feed", FEED_LIST), "fetch": Variable("fetch", FETCH_LIST)}
    values = {name: number for number, name in names.items()}
    return Document(Program([block]), document, values, makers)


def _saved(entry: dict[str, Any]) -> bool:
    """Whether the parameter file holds a value: parameters that are persistable, the first of their flags."""
    return bool(entry["#"] == "p" and entry.get("OA", [1])[:1] != [0])


def _short(name: str) -> str:
    """The type of an operator: ``conv2d`` of dialect 1 (Paddle's own), ``builtin_split`` of dialect 0."""
    dialect, _, short = name.partition(".")
    return dialect if not short else f"builtin_{short}" if dialect == "0" else short


def _append(block: Block, makers: dict[str, tuple[int, ...]], op: Operator) -> None:
    """Add an operator; what takes a list apart becomes part of the operator that made it, as in older files."""
    if op.type == "builtin_split" and list(op.inputs) == ["0"]:
        maker = next((one for one in block.operators if op.inputs["0"][0] in one.makes()), None)
        if maker is not None and block.variables[op.inputs["0"][0]].kind != DENSE_TENSOR:
            parameter = next(key for key, names in maker.outputs.items() if op.inputs["0"][0] in names)
            maker.outputs[parameter] = op.makes()
            places = makers[op.inputs["0"][0]]
            makers |= {name: (*places, *makers[name]) for name in op.makes()}
            return
    block.operators.append(op)


def _results(entry: dict[str, Any]) -> list[dict[str, Any]]:
    results = entry.get("O", [])
    return [results] if isinstance(results, dict) else results


def _name(entry: dict[str, Any], short: str, count: int, position: int) -> str:
    if entry["#"] == "p":
        return str(entry["A"][3])
    if entry["#"] == _DATA:
        return str(_attribute_of(entry, "name"))
    return f"{short}_{count}" if position == 0 else f"{short}_{count}.{position}"


def _attribute_of(entry: dict[str, Any], name: str) -> Any:
    return next((item["AT"]["D"] for item in entry["A"] if item["N"] == name), None)


def _operator(entry: dict[str, Any], short: str, names: dict[int, str], made: list[str]) -> Operator:
    read = [names.get(operand["%"], "") for operand in entry.get("I", [])]
    read += [name for name in dict.fromkeys(_captured(entry, names)) if name not in (*read, *made)]
    attributes = {item["N"]: attribute for item in entry.get("A", []) for attribute in _attributes(item.get("AT", {}))}
    if entry["#"] == _DATA:
        return Operator("feed", {"X": ["feed"]}, {"Out": made}, attributes)
    if entry["#"] == _FETCH:
        return Operator("fetch", {"X": read}, {"Out": ["fetch"]}, attributes)
    inputs = {str(place): [name] for place, name in enumerate(read) if name}
    return Operator(short, inputs, {str(place): [name] for place, name in enumerate(made)}, attributes)


def _captured(entry: dict[str, Any], names: dict[int, str]) -> Iterator[str]:
    """What the branches and bodies of an operator read of what was made before it."""
    for region in entry.get("regions", ()):
        for block in region["blocks"]:
            for inner in block["ops"]:
                yield from (names[operand["%"]] for operand in inner.get("I", ()) if operand["%"] in names)
                yield from _captured(inner, names)


def _attributes(described: dict[str, Any]) -> Iterator[Attribute]:
    """The value of an attribute, where it is of a kind that older files have too."""
    value = described.get("D")
    if described.get("#") == "0.a_array":
        items = [item.get("D") for item in value or ()]
        yield Attribute(INTS, tuple(items))
    elif isinstance(value, bool):
        yield Attribute(BOOLEAN, value)
    elif isinstance(value, int):
        yield Attribute(INT, value)
    elif isinstance(value, float):
        yield Attribute(FLOAT, value)
    elif isinstance(value, str):
        yield Attribute(STRING, value)
    elif isinstance(value, list):
        yield Attribute(INTS, tuple(value))


def _variable(name: str, result: dict[str, Any], *, persistable: bool) -> Variable:
    described = result.get("TT") or {}
    if described.get("#") != "0.t_dtensor":
        return Variable(name, kind=-1, persistable=persistable)
    element, dims = described["D"][0]["#"], described["D"][1]
    return Variable(name, DENSE_TENSOR, _DTYPES.get(element.rpartition("_")[2], -1), tuple(dims), persistable)


def write(document: Document, part: Program) -> bytes:
    """The file of a part of a program.

    Args:
        document: the whole.
        part: made of it by ``cutting.cut``; outputs get the names of their variables.
    """
    whole = _operations(document.json)
    made = {name for op in part.main.operators for name in op.makes() if op.type not in ("feed", "fetch")}
    read = {name for op in part.main.operators for name in op.reads()}
    places = {place for name in made | read for place in document.makers.get(name, ())}
    feeds = [name for name in part.feeds() if whole[document.makers[name][-1]]["#"] != _DATA]
    replaced = {place for name in feeds for place in document.makers[name]}
    operations = [whole[place] for place in sorted(places - replaced)]
    data = [_data(document, part, name) for name in feeds]
    next_value = max(document.values.values()) + 1
    fetches = [_fetch(document, part, name, col, next_value + col) for col, name in enumerate(part.fetches())]
    block = {**document.json["program"]["regions"][0]["blocks"][0], "ops": [*data, *operations, *fetches]}
    region = {**document.json["program"]["regions"][0], "blocks": [block]}
    return json.dumps({**document.json, "program": {"regions": [region]}}, separators=(",", ":")).encode()


def _type(variable: Variable) -> dict[str, Any]:
    element = next(name for name, number in _DTYPES.items() if number == variable.dtype)
    return {"#": "0.t_dtensor", "D": [{"#": f"0.t_{element}"}, list(variable.shape), "NCHW", [], 0]}


def _named(name: str, kind: str, value: Any) -> dict[str, Any]:
    return {"AT": {"#": kind, "D": value}, "N": name}


def _flag(name: str, value: bool) -> dict[str, Any]:
    return _named(name, "0.a_array", [{"#": "0.a_bool", "D": value}])


def _data(document: Document, part: Program, name: str) -> dict[str, Any]:
    variable = part.main.variables[name]
    dtype = {
        "f32": "float32",
        "f64": "float64",
        "f16": "float16",
        "bf16": "bfloat16",
        "i64": "int64",
        "i32": "int32",
        "i16": "int16",
        "i8": "int8",
        "ui8": "uint8",
        "bool": "bool",
    }
    element = next(key for key, number in _DTYPES.items() if number == variable.dtype)
    return {
        "#": _DATA,
        "A": [
            _named("name", "0.a_str", name),
            _named("shape", "1.a_intarray", list(variable.shape)),
            _named("dtype", "1.a_dtype", dtype[element]),
            _named("place", "1.a_place", [0, 0, ""]),
        ],
        "I": [],
        "O": [{"%": document.values[name], "TT": _type(variable)}],
        "OA": [_flag("stop_gradient", True)],
    }


def _fetch(document: Document, part: Program, name: str, col: int, value: int) -> dict[str, Any]:
    return {
        "#": _FETCH,
        "A": [_named("name", "0.a_str", name), _named("col", "0.a_i32", col)],
        "I": [{"%": document.values[name]}],
        "O": [{"%": value, "TT": _type(part.main.variables[name])}],
        "OA": [_flag("persistable", True), _flag("stop_gradient", True)],
    }

"""Paddle's ProgramDesc, read and written without Paddle: what ``__model__`` and ``.pdmodel`` files hold.

The messages are those of Paddle's ``framework.proto``, whose field numbers have not changed since 1.x. Repeated
numbers are written unpacked, as Paddle (proto2) does; both forms are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from trtconv.core import protobuf_wire as wire
from trtconv.core.errors import SourceError
from trtconv.sources.paddle.program import (
    BLOCK,
    BLOCKS,
    BOOLEAN,
    BOOLEANS,
    DENSE_TENSOR,
    FLOAT,
    FLOAT64,
    FLOAT64S,
    FLOATS,
    INT,
    INTS,
    LONG,
    LONGS,
    SCALAR,
    SCALARS,
    STRING,
    STRINGS,
    VAR,
    VARS,
    Attribute,
    Block,
    Operator,
    Program,
    Variable,
)

_FIELDS = {
    INT: 3,
    FLOAT: 4,
    STRING: 5,
    INTS: 6,
    FLOATS: 7,
    STRINGS: 8,
    BOOLEAN: 10,
    BOOLEANS: 11,
    BLOCK: 12,
    LONG: 13,
    BLOCKS: 14,
    LONGS: 15,
    FLOAT64S: 16,
    VAR: 17,
    VARS: 18,
    FLOAT64: 19,
    SCALAR: 20,
    SCALARS: 21,
}
"""Where an attribute of each kind keeps its value in ``OpDesc.Attr``."""

_INTEGERS = {INT, INTS, BOOLEAN, BOOLEANS, BLOCK, LONG, BLOCKS, LONGS}
_REALS = {FLOAT: "<f", FLOATS: "<f", FLOAT64: "<d", FLOAT64S: "<d"}
_TEXTS = {STRING, STRINGS, VAR, VARS}
_LISTS = {INTS, FLOATS, STRINGS, BOOLEANS, BLOCKS, LONGS, FLOAT64S, VARS, SCALARS}


def looks_like(start: bytes) -> bool:
    """Whether bytes begin like a ProgramDesc: its first block (field 1) with index 0 and parent -1."""
    view = memoryview(start)
    if start[:1] != b"\x0a":
        return False
    try:
        _, position = wire.varint(view, 1, len(view))
    except wire.Damaged:
        return False
    return start[position : position + 13] == b"\x08\x00\x10" + b"\xff" * 9 + b"\x01"


def read(data: bytes, what: str) -> Program:
    """A program from the bytes of its file.

    Args:
        data: the file.
        what: how to call it in errors.

    Raises:
        SourceError: truncated, damaged or foreign.
    """
    try:
        program = _program(memoryview(data))
    except (wire.Damaged, struct.error, IndexError) as error:
        raise SourceError(
            f"{what}: a damaged Paddle program: {error}", hint="copy it again from where it was saved"
        ) from None
    if not program.blocks or not program.main.operators:
        raise SourceError(f"{what}: a Paddle program without operators", hint="save it again for inference")
    return program


def _program(data: memoryview) -> Program:
    program = Program([])
    for part in wire.fields(data):
        if part.number == 1:
            program.blocks.append(_block(data, part))
        elif part.number == 4:
            program.version = next((f.value for f in wire.fields(data, part.start, part.end) if f.number == 1), 0)
        else:
            program.rest += bytes(data[part.begin : part.end])
    return program


def _block(data: memoryview, whole: wire.Field) -> Block:
    block = Block()
    for part in wire.fields(data, whole.start, whole.end):
        if part.number == 1:
            block.index = wire.signed(part.value)
        elif part.number == 2:
            block.parent = wire.signed(part.value)
        elif part.number == 3:
            variable = _variable(data, part)
            block.variables[variable.name] = variable
        elif part.number == 4:
            block.operators.append(_operator(data, part))
        else:
            block.rest += bytes(data[part.begin : part.end])
    return block


def _operator(data: memoryview, whole: wire.Field) -> Operator:
    op = Operator("")
    for part in wire.fields(data, whole.start, whole.end):
        if part.number in (1, 2):
            parameter, names = "", []
            for item in wire.fields(data, part.start, part.end):
                if item.number == 1:
                    parameter = wire.text(data, item)
                elif item.number == 2:
                    names.append(wire.text(data, item))
            (op.inputs if part.number == 1 else op.outputs)[parameter] = names
        elif part.number == 3:
            op.type = wire.text(data, part)
        elif part.number == 4:
            name, attribute = _attribute(data, part)
            op.attributes[name] = attribute
    return op


def _attribute(data: memoryview, whole: wire.Field) -> tuple[str, Attribute]:
    parts = list(wire.fields(data, whole.start, whole.end))
    name = next((wire.text(data, part) for part in parts if part.number == 1), "")
    kind = next((part.value for part in parts if part.number == 2), INT)
    number = _FIELDS.get(kind, 0)
    values = [value for part in parts if part.number == number for value in _values(data, part, kind)]
    if kind in _LISTS:
        return name, Attribute(kind, tuple(values))
    return name, Attribute(kind, values[-1] if values else _default(kind))


def _default(kind: int) -> Any:
    return "" if kind in _TEXTS else b"" if kind == SCALAR else False if kind == BOOLEAN else 0


def _values(data: memoryview, part: wire.Field, kind: int) -> Iterator[Any]:
    """The value of one field, or the several of a packed one."""
    content = data[part.start : part.end]
    if kind in _TEXTS:
        yield wire.text(data, part)
    elif kind in _REALS:
        for (value,) in struct.iter_unpack(_REALS[kind], content):
            yield value
    elif kind in _INTEGERS:
        start = part.start
        while start < part.end:
            number, start = wire.varint(data, start, part.end)
            yield bool(number) if kind in (BOOLEAN, BOOLEANS) else wire.signed(number)
    else:
        yield bytes(content)


def _variable(data: memoryview, whole: wire.Field) -> Variable:
    variable = Variable("")
    for part in wire.fields(data, whole.start, whole.end):
        if part.number == 1:
            variable.name = wire.text(data, part)
        elif part.number == 2:
            _variable_type(data, part, variable)
        elif part.number == 3:
            variable.persistable = bool(part.value)
        else:
            variable.rest += bytes(data[part.begin : part.end])
    return variable


def _variable_type(data: memoryview, whole: wire.Field, variable: Variable) -> None:
    for part in wire.fields(data, whole.start, whole.end):
        if part.number == 1:
            variable.kind = part.value
        elif part.number in (2, 3, 4):  # selected rows hold a TensorDesc themselves; the others have it in field 1
            inside = [part] if part.number == 2 else []
            for item in wire.fields(data, part.start, part.end) if part.number != 2 else ():
                if item.number == 1:
                    inside.append(item)
                elif item.number == 2:
                    variable.lod = item.value
            for description in inside:
                variable.dtype, variable.shape = tensor_desc(data, description.start, description.end)
    if variable.kind != DENSE_TENSOR:
        variable.type_bytes = bytes(data[whole.start : whole.end])


def tensor_desc(data: memoryview, start: int, end: int) -> tuple[int, tuple[int, ...]]:
    """Data type and dimensions of a TensorDesc.

    Raises:
        Damaged: it is none.
    """
    dtype, dims = 5, []
    for part in wire.fields(data, start, end):
        if part.number == 1:
            dtype = part.value
        elif part.number == 2:
            dims += [int(value) for value in _values(data, part, LONGS)]
    return dtype, tuple(dims)


def write(program: Program) -> bytes:
    """The bytes of a program's file."""
    parts = [_field(1, _block_bytes(block)) for block in program.blocks]
    return b"".join([*parts, _field(4, _number(1, program.version)), program.rest])


def _block_bytes(block: Block) -> bytes:
    parts = [_number(1, block.index), _number(2, block.parent)]
    parts += [_field(3, _variable_bytes(variable)) for variable in block.variables.values()]
    parts += [_field(4, _operator_bytes(op)) for op in block.operators]
    return b"".join([*parts, block.rest])


def _operator_bytes(op: Operator) -> bytes:
    parts = []
    for number, table in ((1, op.inputs), (2, op.outputs)):
        for parameter, names in table.items():
            content = _text(1, parameter) + b"".join(_text(2, name) for name in names)
            parts.append(_field(number, content))
    parts.append(_text(3, op.type))
    parts += [_field(4, _attribute_bytes(name, attribute)) for name, attribute in op.attributes.items()]
    return b"".join(parts)


def _attribute_bytes(name: str, attribute: Attribute) -> bytes:
    kind, number = attribute.kind, _FIELDS[attribute.kind]
    values = attribute.value if kind in _LISTS else (attribute.value,)
    parts = [_text(1, name), _number(2, kind)]
    for value in values:
        if kind in _TEXTS:
            parts.append(_text(number, value))
        elif kind in _REALS:
            wire_type = 5 if kind in (FLOAT, FLOATS) else 1
            parts.append(wire.encoded(number << 3 | wire_type) + struct.pack(_REALS[kind], value))
        elif kind in _INTEGERS:
            parts.append(_number(number, int(value)))
        else:
            parts.append(_field(number, value))
    return b"".join(parts)


def _variable_bytes(variable: Variable) -> bytes:
    content = variable.type_bytes or _number(1, variable.kind)
    if variable.kind == DENSE_TENSOR:
        tensor = _field(1, desc_bytes(variable.dtype, variable.shape))
        content = _number(1, variable.kind) + _field(3, tensor + _number(2, variable.lod))
    return _text(1, variable.name) + _field(2, content) + _number(3, variable.persistable) + variable.rest


def desc_bytes(dtype: int, shape: tuple[int, ...]) -> bytes:
    """A TensorDesc."""
    return _number(1, dtype) + b"".join(_number(2, dim) for dim in shape)


def _number(number: int, value: int) -> bytes:
    return wire.encoded(number << 3) + wire.encoded(value & (1 << 64) - 1)


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, content: bytes) -> bytes:
    return wire.opening(number, len(content)) + content

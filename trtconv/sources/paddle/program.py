"""A Paddle program: blocks of operators, and variables between them; kinds are numbered as in ``framework.proto``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

(
    INT,
    FLOAT,
    STRING,
    INTS,
    FLOATS,
    STRINGS,
    BOOLEAN,
    BOOLEANS,
    BLOCK,
    LONG,
    BLOCKS,
    LONGS,
    FLOAT64S,
    VAR,
    VARS,
    FLOAT64,
    SCALAR,
    SCALARS,
) = range(18)
"""Kinds of attributes (``AttrType``)."""

DENSE_TENSOR, FEED_LIST, FETCH_LIST = 7, 9, 10
"""Kinds of variables (``VarType.Type``)."""

DTYPES = {
    0: "bool",
    1: "int16",
    2: "int32",
    3: "int64",
    4: "float16",
    5: "float",
    6: "double",
    20: "uint8",
    21: "int8",
    22: "bfloat16",
}
"""ONNX names of the element types (the same enumeration)."""

HALVES = (4, 22)
"""float16 and bfloat16."""

FULL = dict.fromkeys(HALVES, 5)
"""Half precision is read as float32: precision is chosen later."""


class Attribute(NamedTuple):
    """An operator's attribute.

    Attributes:
        kind: one of the constants above.
        value: a number, bool, text, or a tuple of them; for scalars, the bytes of the message.
    """

    kind: int
    value: Any


@dataclass
class Operator:
    """One operator: parameters such as ``Input`` or ``Out``, each with the names of its variables."""

    type: str
    inputs: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[str, list[str]] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)

    def reads(self) -> list[str]:
        """All variables that it reads."""
        return [name for names in self.inputs.values() for name in names]

    def makes(self) -> list[str]:
        """All variables that it makes."""
        return [name for names in self.outputs.values() for name in names]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return self.attributes[name].value if name in self.attributes else default


@dataclass
class Variable:
    """A variable of a block.

    Attributes:
        name: of the variable.
        kind: ``DENSE_TENSOR`` and others.
        dtype: key of DTYPES; meaningless for what is no tensor.
        shape: -1 is dynamic.
        persistable: whether it is a weight (or the list of feeds or fetches).
        lod: number of its levels of detail, which split the first axis into sequences.
        type_bytes: the whole type as it was, of what is no tensor.
        rest: fields of the message beyond these, as they were.
    """

    name: str
    kind: int = DENSE_TENSOR
    dtype: int = 5
    shape: tuple[int, ...] = ()
    persistable: bool = False
    lod: int = 0
    type_bytes: bytes = b""
    rest: bytes = b""

    @property
    def weight(self) -> bool:
        """Whether a parameter file holds it."""
        return self.persistable and self.kind == DENSE_TENSOR


@dataclass
class Block:
    """Operators in the order in which they run, and the variables between them."""

    index: int = 0
    parent: int = -1
    variables: dict[str, Variable] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    rest: bytes = b""


@dataclass
class Program:
    """A whole program; block 0 is the network, others are bodies of loops and branches.

    Attributes:
        blocks: in order.
        version: of Paddle, as major * 1000000 + minor * 1000 + patch; 0 in files of 1.x.
        rest: the map of operator versions, as it was.
    """

    blocks: list[Block] = field(default_factory=lambda: [Block()])
    version: int = 0
    rest: bytes = b""

    @property
    def main(self) -> Block:
        """Block 0."""
        return self.blocks[0]

    def weights(self) -> list[Variable]:
        """The variables that a parameter file holds, sorted by name as a combined file has them."""
        found = {name: var for block in self.blocks for name, var in block.variables.items() if var.weight}
        return [found[name] for name in sorted(found)]

    def feeds(self) -> list[str]:
        """Names of the inputs, by their column."""
        ops = sorted((op for op in self.main.operators if op.type == "feed"), key=lambda op: int(op.get("col", 0)))
        return [name for op in ops for name in op.makes()]

    def fetches(self) -> list[str]:
        """Names of the outputs, by their column."""
        ops = sorted((op for op in self.main.operators if op.type == "fetch"), key=lambda op: int(op.get("col", 0)))
        return [name for op in ops for name in op.reads()]

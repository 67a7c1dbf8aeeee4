"""Small graphs drawn at random, and inputs for them: what exporters write around weighted operators, in many spellings.

Blocks of moving, masking, normalising and reducing operators follow each other, with large and tiny values on the way.
Every block takes a tensor [2, 4, width] of ordinary size and gives one back: FP32 computes something meaningful.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.networks import Arrays, constant, model, node, value

LOWEST = float(np.finfo(np.float32).min)
LOWS = (LOWEST, LOWEST, LOWEST / 2, -1e9, -1e10, -1e5, -65504.0)
BATCH, STEPS = 2, 4


@dataclass
class Drawing:
    """A graph on its way.

    Attributes:
        random: what all choices come from.
        low: the number that masks are made of. Of two different ones the larger would win where a row has both, in
            FP32; a type that cannot hold them cannot tell them apart.
        width: of the tensor that goes from block to block.
        nodes: so far.
        constants: so far.
        inner: nodes of the subgraph that is being drawn, instead of ``nodes``.
    """

    random: np.random.Generator
    low: float = LOWEST
    width: int = 8
    nodes: list[Any] = field(default_factory=list)
    constants: Arrays = field(default_factory=dict)
    inner: list[Any] | None = None
    count: int = 0
    story: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the tensor that goes from block to block."""
        return BATCH, STEPS, self.width

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of what it makes."""
        output = self.fresh(kind.lower())
        made = node(kind, " ".join(one or "-" for one in inputs), output, **attributes)
        (self.nodes if self.inner is None else self.inner).append(made)
        return output

    def put(self, values: Any, kind: Any = np.float32) -> str:
        """Add a constant; its name."""
        name = self.fresh("c")
        self.constants[name] = np.asarray(values, kind)
        return name

    def ints(self, *values: int) -> str:
        return self.put(list(values), np.int64)

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def maybe(self, share: float = 0.5) -> bool:
        return bool(self.random.random() < share)

    def matrix(self, x: str, scale: float = 1.0) -> str:
        """``x`` times a weight."""
        weight = self.random.normal(0, scale / np.sqrt(self.width), (self.width, self.width))
        return self.op("MatMul", x, self.put(weight))


Block = Callable[[Drawing, str], str]


# Moving: the same values elsewhere.


def moved(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    """A tensor of a shape, through one to three operators that only move values."""
    for _ in range(int(d.random.integers(1, 4))):
        x = d.one_of(*MOVES)(d, x, shape)
    return x


def _reshaped(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    return d.op("Reshape", d.op("Reshape", x, d.ints(-1)), d.ints(*shape))


def _transposed(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    order = [int(axis) for axis in d.random.permutation(len(shape))]
    return d.op("Transpose", d.op("Transpose", x, perm=order), perm=[order.index(axis) for axis in range(len(shape))])


def _unsqueezed(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    axis = d.ints(int(d.random.integers(len(shape) + 1)))
    return d.op("Squeeze", d.op("Unsqueeze", x, axis), axis)


def _halved(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    axis = len(shape) - 1
    if shape[axis] < 2:
        return d.op("Identity", x)
    middle, end = shape[axis] // 2, shape[axis]
    parts = [
        d.op("Slice", x, d.ints(start), d.ints(stop), d.ints(axis)) for start, stop in ((0, middle), (middle, end))
    ]
    return d.op("Concat", *parts, axis=axis)


def _tiled(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    wide = d.op("Tile", x, d.ints(*(2 if axis == 0 else 1 for axis in range(len(shape)))))
    return d.op("Slice", wide, d.ints(0), d.ints(shape[0]), d.ints(0))


def _expanded(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    return d.op("Expand", x, d.op("Shape", x)) if d.maybe() else d.op("Expand", x, d.ints(*shape))


def _gathered(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    return d.op("Gather", x, d.ints(*range(shape[0])), axis=0)


def _padded(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    ends = [0] * len(shape)
    wide = d.op("Pad", x, d.ints(*ends, *(1 if axis == 0 else 0 for axis in range(len(shape)))))
    return d.op("Slice", wide, d.ints(0), d.ints(shape[0]), d.ints(0))


def _bounded(d: Drawing, x: str, shape: tuple[int, ...]) -> str:
    """Bounds that never bind."""
    if d.maybe(0.3):
        return d.op("Clip", x, d.put(LOWEST), d.put(-LOWEST))
    return d.op("Max", x, d.put(-np.inf)) if d.maybe() else d.op("Min", d.put(np.inf), x)


MOVES = (_reshaped, _transposed, _unsqueezed, _halved, _tiled, _expanded, _gathered, _padded, _bounded)


def moving(d: Drawing, x: str) -> str:
    return moved(d, x, d.shape)


# Masking: attention over the steps, some of which are left out.


def attention(d: Drawing, x: str) -> str:
    """Scores, a mask in some spelling, Softmax in some spelling, a mean of values."""
    query, key = d.matrix(x), d.matrix(x)
    scores = d.op("MatMul", query, d.op("Transpose", key, perm=[0, 2, 1]))
    scores = d.op("Mul", scores, d.put(d.width**-0.5)) if d.maybe() else d.op("Div", scores, d.put(d.width**0.5))
    for _ in range(d.one_of(1, 1, 2)):
        scores = d.one_of(*MASKS)(d, scores)
    if d.maybe(0.3):
        scores = d.op("Mul", scores, d.put(d.one_of(0.125, 0.5, 2.0)))
    weights = d.one_of(_softmax, _softmax_written, _softmax_moved)(d, scores)
    return d.op("MatMul", weights, d.matrix(x))


def _keep_float(d: Drawing) -> str:
    """Which steps to attend to, [2, 1, 4] of 0 and 1."""
    source = d.one_of("tokens", "flags", "padding")
    kept = source if source == "padding" else d.op("Cast", source, to=TensorProto.FLOAT)
    return d.op("Unsqueeze", kept, d.ints(1))


def _keep_bool(d: Drawing) -> str:
    if d.maybe():
        return d.op("Unsqueeze", "flags", d.ints(1))
    return d.op("Greater", _keep_float(d), d.put(0.5))


def _causal(d: Drawing) -> str:
    """Which steps are not in the future, bool [4, 4]."""
    steps = d.op(
        "Range", d.put(0, np.int64), d.op("Gather", d.op("Shape", "x"), d.put(1, np.int64)), d.put(1, np.int64)
    )
    return d.op("LessOrEqual", d.op("Unsqueeze", steps, d.ints(0)), d.op("Unsqueeze", steps, d.ints(1)))


def _where(d: Drawing, scores: str) -> str:
    low = d.put(-np.inf if d.maybe(0.2) else d.low)
    if d.maybe():
        low = d.op("Expand", low, d.op("Shape", scores))
    return d.op("Where", _keep_bool(d) if d.maybe() else _causal(d), scores, low)


def _added(d: Drawing, scores: str) -> str:
    """(1 - kept) * low, moved about, on top of the scores."""
    left_out = d.op("Sub", d.put(1.0), _keep_float(d))
    mask = d.op("Mul", left_out, d.put(d.low))
    mask = moved(d, mask, (BATCH, 1, STEPS)) if d.maybe() else mask
    return d.op("Add", scores, mask) if d.maybe() else d.op("Sub", scores, d.op("Neg", mask))


def _filled(d: Drawing, scores: str) -> str:
    """A tensor full of the lowest number, made at run time, and 0 where steps are kept."""
    shape = d.op("Concat", d.ints(STEPS), d.op("Slice", d.op("Shape", "x"), d.ints(1), d.ints(2)), axis=0)
    full = d.op("ConstantOfShape", shape, value=constant(np.float32([d.low]), "value"))
    if d.maybe():
        mask = d.op("Mul", full, d.op("Cast", d.op("Not", _causal(d)), to=TensorProto.FLOAT))
    else:
        mask = d.op("Trilu", full, d.put(1, np.int64), upper=1)
    mask = d.op("Unsqueeze", mask, d.ints(0))
    return d.op("Add", scores, moved(d, mask, (1, STEPS, STEPS)) if d.maybe() else mask)


def _combined(d: Drawing, scores: str) -> str:
    """Causal and padding masks joined by Min, or by Where on a sum, before they meet the scores."""
    low = d.put(d.low)
    first = d.op("Where", _causal(d), d.put(0.0), low)
    second = d.op("Mul", d.op("Sub", d.put(1.0), _keep_float(d)), low)
    both = d.op("Min", first, second) if d.maybe() else d.op("Add", first, second)
    if d.maybe():
        both = d.op("Max", both, d.put(LOWEST))
    return d.op("Add", scores, both)


def _chosen(d: Drawing, scores: str) -> str:
    """The mask is made in one of two branches."""
    low = d.put(d.low)
    keep = d.op("Cast", _causal(d), to=TensorProto.FLOAT)
    branches = {}
    for name in ("then_branch", "else_branch"):
        d.inner = []
        out = (
            d.op("Mul", d.op("Sub", d.put(1.0), keep), low) if name == "then_branch" else d.op("Mul", keep, d.put(0.0))
        )
        branches[name] = helper.make_graph(d.inner, d.fresh("branch"), [], [value(out, [STEPS, STEPS])])
        d.inner = None
    return d.op("Add", scores, d.op("If", "switch", **branches))


def _given(d: Drawing, scores: str) -> str:
    """The mask is an input of the model."""
    return d.op("Add", scores, d.op("Unsqueeze", "bias", d.ints(0)))


MASKS = (_where, _where, _added, _added, _filled, _combined, _chosen, _given)


def _softmax(d: Drawing, scores: str) -> str:
    return d.op("Softmax", scores, axis=-1)


def _softmax_moved(d: Drawing, scores: str) -> str:
    return d.op("Softmax", moved(d, scores, (BATCH, STEPS, STEPS)), axis=-1)


def _softmax_written(d: Drawing, scores: str) -> str:
    highest = d.op("ReduceMax", scores, axes=[2], keepdims=1)
    exponential = d.op("Exp", d.op("Sub", scores, highest))
    return d.op("Div", exponential, d.op("ReduceSum", exponential, d.ints(2), keepdims=1))


# Normalising.


def normalising(d: Drawing, x: str) -> str:
    """x over some measure of its size, from a scale at which squares leave the type or its normal numbers."""
    x = d.matrix(x, float(d.one_of(1.0, 1.0, 1e-3, 300.0)))
    if d.maybe():
        x = d.op("Sub", x, d.op("ReduceMean", x, axes=[2], keepdims=1))
    size = d.one_of(_root_of_squares, _norm, _greatest)(d, x)
    size = moved(d, size, (BATCH, STEPS, 1)) if d.maybe(0.3) else size
    if d.maybe(0.3):
        size = d.op("Expand", size, d.op("Shape", x))
    if d.maybe(0.3):
        return d.op("Mul", x, d.op("Reciprocal", size))
    return d.op("Div", x, size)


def _square(d: Drawing, x: str) -> str:
    return d.op("Mul", x, x) if d.maybe() else d.op("Pow", x, d.put(2.0))


def _root_of_squares(d: Drawing, x: str) -> str:
    squares = _square(d, x)
    mean = (
        d.op("ReduceMean", squares, axes=[2], keepdims=1)
        if d.maybe()
        else d.op("ReduceSum", squares, d.ints(2), keepdims=1)
    )
    safe = d.op("Add", mean, d.put(d.one_of(1e-3, 1e-5, 1e-6, 1e-12)))
    if d.maybe(0.2):
        return d.op("Reciprocal", d.op("Pow", safe, d.put(-0.5)))
    return d.op("Sqrt", safe) if d.maybe() else d.op("Pow", safe, d.put(0.5))


def _norm(d: Drawing, x: str) -> str:
    kind = d.one_of("ReduceL2", "ReduceL1")
    size = d.op(kind, x, axes=[2], keepdims=1)
    floor = d.put(d.one_of(1e-12, 1e-8, 1e-5, 1e-3))
    return d.op(*d.one_of(("Clip", size, floor), ("Max", size, floor), ("Add", size, floor)))


def _greatest(d: Drawing, x: str) -> str:
    size = d.op("ReduceMax", d.op("Abs", x), axes=[2], keepdims=1)
    return d.op("Max", size, d.put(d.one_of(1e-12, 1e-6, 1e-3)))


# Reducing.


def reducing(d: Drawing, x: str) -> str:
    """Something over an axis, made ordinary again, back onto the tensor."""
    x = d.op("Tanh", x) if d.maybe() else x
    found = d.one_of(_mean_of_kept, _logarithm, _log_sum, _energy, _counted)(d, x)
    return d.op("Add", x, found) if d.maybe(0.7) else d.op("Mul", d.op("Tanh", found), x)


def _mean_of_kept(d: Drawing, x: str) -> str:
    """Sum over the steps that are kept, over their number."""
    kept = d.op("Transpose", _keep_float(d), perm=[0, 2, 1])
    total = d.op("ReduceSum", d.op("Mul", x, kept), d.ints(1), keepdims=1)
    count = d.op("ReduceSum", kept, d.ints(1), keepdims=1)
    floor = d.put(d.one_of(1.0, 1e-9, 1e-6))
    return d.op("Div", total, d.op(d.one_of("Max", "Add"), count, floor))


def _logarithm(d: Drawing, x: str) -> str:
    """Decibels of a power, as audio front ends take them."""
    power = d.op("Mul", d.matrix(x, d.one_of(1.0, 1e-2, 100.0)), d.put(1.0))
    power = _square(d, power)
    if d.maybe():
        bank = np.abs(d.random.normal(0, 1 / d.width, (d.width, d.width)))
        power = d.op("MatMul", power, d.put(bank))
    floor = d.put(d.one_of(1e-10, 1e-6, 1e-3))
    logarithm = d.op("Log", d.op("Max", power, floor) if d.maybe() else d.op("Add", power, floor))
    return d.op("Mul", logarithm, d.put(0.05))


def _log_sum(d: Drawing, x: str) -> str:
    if d.maybe():
        return d.op("ReduceLogSumExp", d.op("Mul", x, d.put(d.one_of(1.0, 10.0))), axes=[2], keepdims=1)
    exponentials = d.op("ReduceSum", d.op("Exp", d.op("Mul", x, d.put(d.one_of(0.5, 5.0)))), d.ints(2), keepdims=1)
    return d.op("Mul", d.op("Log", exponentials), d.put(0.1))


def _energy(d: Drawing, x: str) -> str:
    """A sum of large squares, scaled back."""
    factor = float(d.one_of(10.0, 300.0))
    large = d.op("Mul", x, d.put(factor))
    total = (
        d.op("ReduceSumSquare", large, axes=[2], keepdims=1)
        if d.maybe()
        else d.op("ReduceSum", _square(d, large), d.ints(2), keepdims=1)
    )
    return d.op("Mul", total, d.put(1 / factor**2)) if d.maybe() else d.op("Div", total, d.put(factor**2))


def _counted(d: Drawing, x: str) -> str:
    """The share of a length, from shapes."""
    length = d.op("Cast", d.op("Gather", d.op("Shape", "x"), d.put(1, np.int64)), to=TensorProto.FLOAT)
    return d.op("Div", d.op("ReduceSum", x, d.ints(1), keepdims=1), length)


# Positions and offsets.


def positions(d: Drawing, x: str) -> str:
    """Sines of positions times frequencies."""
    frequencies = d.put(1 / 10000 ** (np.arange(d.width // 2) / (d.width // 2)))
    source = d.one_of("position", "time")
    at = d.op("Unsqueeze", d.op("Cast", source, to=TensorProto.FLOAT) if source == "position" else source, d.ints(1))
    if d.maybe(0.3):
        angle = d.op("MatMul", at, d.op("Reshape", frequencies, d.ints(1, d.width // 2)))
    else:
        angle = d.op("Mul", at, frequencies)
    if d.maybe():
        waves = d.op("Concat", d.op("Sin", angle), d.op("Cos", angle), axis=1)
    else:
        waves = d.op(d.one_of("Sin", "Cos"), d.op("Concat", angle, angle, axis=1))
    return d.op(d.one_of("Add", "Mul"), x, moved(d, waves, (STEPS, d.width)) if d.maybe(0.3) else waves)


def offset(d: Drawing, x: str) -> str:
    """A large number that is taken away again, or a small factor that is made up for."""
    if d.maybe(0.4):
        large = d.put(d.one_of(1000.0, 5000.0, 60000.0))
        return d.op("Sub", d.op("Add", x, large), large)
    factor = float(d.one_of(1e5, 1e4, 1e-5, 1e-9))
    return d.op("Mul", moved(d, d.op("Mul", x, d.put(factor)), d.shape), d.put(1 / factor))


def undefined(d: Drawing, x: str) -> str:
    """A quotient that is NaN where both are 0, which Where replaces."""
    zero = d.put(0.0)
    kept = d.op("Relu", x)
    total = d.op("ReduceSum", kept, d.ints(2), keepdims=1)
    quotient = d.op("Div", kept, total)
    return d.op("Add", x, d.op("Where", d.op("Equal", total, zero), zero, quotient))


def quotient(d: Drawing, x: str) -> str:
    """Over a sum of both signs, or a difference, in some spelling; 1 where that is 0."""
    x = d.matrix(x) if d.maybe(0.7) else x
    if d.maybe(0.3):
        ends = [d.op("Slice", x, d.ints(start), d.ints(start + 1), d.ints(2)) for start in (0, d.width - 1)]
        total = d.op("Sub", *ends)
    elif d.maybe(0.3):
        total = d.op("Add", d.op("Slice", x, d.ints(0), d.ints(1), d.ints(2)), d.put(d.one_of(1.0, 3.0, -0.5)))
    else:
        scaled = d.op("Mul", x, d.put(d.random.normal(size=d.width))) if d.maybe() else x
        scaled = moved(d, scaled, d.shape) if d.maybe(0.3) else scaled
        total = d.op("ReduceSum", scaled, d.ints(2), keepdims=1) if d.maybe() else _mean(d, scaled)
    total = d.op("Where", d.op("Equal", total, d.put(0.0)), d.put(1.0), total)
    found = d.op("Mul", x, d.op("Reciprocal", total)) if d.maybe(0.3) else d.op("Div", x, total)
    return d.op("Tanh", d.op("Mul", found, d.put(0.1)))


def _mean(d: Drawing, x: str) -> str:
    return d.op("ReduceMean", x, axes=[2], keepdims=1)


def moments(d: Drawing, x: str) -> str:
    """Normalised by the mean of squares less the square of the mean, around some mean."""
    x = d.op("Add", d.matrix(x), d.put(d.one_of(0.0, 1.0, 3.0)))
    mean, squares = _mean(d, x), _mean(d, _square(d, x))
    variance = d.op("Sub", squares, _square(d, mean))
    variance = d.op("Max", variance, d.put(0.0)) if d.maybe() else variance
    size = d.op("Sqrt", d.op("Add", variance, d.put(d.one_of(0.1, 1e-2))))
    return d.op("Div", d.op("Sub", x, mean), size)


def branch(d: Drawing, x: str) -> str:
    """Some block inside both branches of an If."""
    if d.inner is not None:
        return d.op("Identity", x)
    branches = {}
    for name in ("then_branch", "else_branch"):
        d.inner = []
        out = d.one_of(normalising, reducing, positions, moving)(d, x)
        branches[name] = helper.make_graph(d.inner, d.fresh("branch"), [], [value(out, list(d.shape))])
        d.inner = None
    return d.op("If", "switch", **branches)


def loop(d: Drawing, x: str) -> str:
    """Some block in a loop of two turns."""
    if d.inner is not None:
        return d.op("Identity", x)
    d.inner, state = [], d.fresh("state")
    out = d.op("Tanh", d.one_of(normalising, reducing, moving)(d, state))
    again = d.op("Identity", "go")
    body = helper.make_graph(
        d.inner,
        d.fresh("body"),
        [value("turn", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value(state, list(d.shape))],
        [value(again, [], TensorProto.BOOL), value(out, list(d.shape))],
    )
    d.inner = None
    return d.op("Loop", d.put(2, np.int64), d.op("Squeeze", d.put([True], bool)), x, body=body)


def activation(d: Drawing, x: str) -> str:
    """What networks write between weighted operators."""
    kind = d.one_of("gelu", "silu", "softplus", "relu")
    if kind == "gelu":
        cube = d.op("Mul", d.op("Pow", x, d.put(3.0)), d.put(0.044715))
        inner = d.op("Tanh", d.op("Mul", d.op("Add", x, cube), d.put(0.79788)))
        return d.op("Mul", d.op("Mul", x, d.put(0.5)), d.op("Add", inner, d.put(1.0)))
    if kind == "silu":
        return d.op("Mul", x, d.op("Sigmoid", x))
    if kind == "softplus":
        return d.op("Log", d.op("Add", d.op("Exp", d.op("Tanh", x)), d.put(1.0))) if d.maybe() else d.op("Softplus", x)
    return d.op("Relu", x)


BLOCKS: tuple[Block, ...] = (
    attention,
    attention,
    normalising,
    normalising,
    reducing,
    reducing,
    positions,
    offset,
    undefined,
    moving,
    branch,
    loop,
    activation,
)

WIDER = 10_000
MORE: tuple[Block, ...] = (*BLOCKS, quotient, quotient, moments)
"""Drawn from WIDER on: smaller seeds are those that showed a fault, and have to stay what they were."""


def draw(seed: int, width: int = 8) -> tuple[Any, Arrays]:
    """A model of two to four blocks, and inputs for it."""
    random = np.random.default_rng(seed)
    d = Drawing(random, LOWS[int(random.integers(len(LOWS)))], width)
    x = "x"
    for _ in range(int(random.integers(2, 5))):
        block = d.one_of(*(BLOCKS if seed < WIDER else MORE))
        d.story.append(block.__name__)
        x = block(d, x)
        if d.maybe(0.3):
            x = d.matrix(x)
    x = d.op("Tanh", x) if d.maybe(0.2) else x
    network = model(d.nodes, _inputs(width), [value(x, ["batch", STEPS, width])], d.constants, check=False)
    needed = {name for one in _nodes(network.graph) for name in one.input}
    kept = [one for one in network.graph.input if one.name in needed]
    del network.graph.input[:]
    network.graph.input.extend(kept)
    network.graph.doc_string = " ".join(d.story)
    return network, {one.name: array for one in kept for name, array in feeds(d).items() if name == one.name}


def _nodes(graph: Any) -> list[Any]:
    found = []
    for one in graph.node:
        found += [one, *(inner for item in one.attribute if item.HasField("g") for inner in _nodes(item.g))]
    return found


def _inputs(width: int) -> list[Any]:
    return [
        value("x", ["batch", STEPS, width]),
        value("tokens", ["batch", STEPS], TensorProto.INT64),
        value("flags", ["batch", STEPS], TensorProto.BOOL),
        value("padding", ["batch", STEPS]),
        value("bias", [STEPS, STEPS]),
        value("position", [STEPS], TensorProto.INT64),
        value("time", [STEPS]),
        value("switch", [], TensorProto.BOOL),
    ]


def feeds(d: Drawing) -> Arrays:
    """Inputs: one step is all zeros, one sample is partly padding."""
    random, low = d.random, d.low
    x = random.normal(size=d.shape).astype(np.float32)
    x[0, 0] = 0
    kept = np.ones((BATCH, STEPS), np.int64)
    kept[0, : int(random.integers(0, STEPS)) if low <= -1e8 else 0] = 0  # FP32 still tells scores apart at -65504
    low = low if random.integers(3) else -np.inf
    bias = np.where(np.tri(STEPS, dtype=bool), np.float32(0), np.float32(low))
    first = int(random.integers(0, 5000))
    return {
        "x": x,
        "tokens": kept,
        "flags": kept.astype(bool),
        "padding": kept.astype(np.float32),
        "bias": bias,
        "position": np.arange(first, first + STEPS),
        "time": np.float32([981, 501, 21, 1]),
        "switch": np.array(bool(random.integers(2))),
    }

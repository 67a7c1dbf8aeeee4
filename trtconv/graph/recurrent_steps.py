"""LSTM, GRU and RNN as a Scan over their steps, every intermediate a tensor of its own (see ``graph.steps``).

The order of the sums is that of onnx's reference implementation. Nodes with lengths, clipping or activations other than
the default ones are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from trtconv.graph import editing

if TYPE_CHECKING:
    from trtconv.graph.steps import Steps

_DEFAULTS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
_LENGTHS = 4

Cell = Callable[["Steps", Any, "_Direction", Sequence[str], Sequence[str]], "list[str]"]
"""Adds one step to a body: (steps, node, weights, products with x, states) -> new states, the first the output."""


@dataclass(frozen=True)
class _Direction:
    """Constants of one direction, names of tensors.

    Attributes:
        recurrent: [hidden, gates * hidden] per product with the state.
        bias: sums of the two biases as the cell wants them; empty without any.
        peephole: of an LSTM, in the order input, output, forget; empty without.
    """

    recurrent: tuple[str, ...]
    bias: tuple[str, ...]
    peephole: tuple[str, ...] = ()


def lstm(steps: Steps, node: Any) -> list[str] | None:
    """Y, Y_h and Y_c."""
    return _layer(steps, node, 4, [4], _lstm_cell)


def gru(steps: Steps, node: Any) -> list[str] | None:
    """Y and Y_h; update and reset gates are one product, the hidden gate another."""
    return _layer(steps, node, 3, [2, 1], _gru_cell)


def rnn(steps: Steps, node: Any) -> list[str] | None:
    """Y and Y_h."""
    return _layer(steps, node, 1, [1], _rnn_cell)


def _layer(steps: Steps, node: Any, gates: int, split: list[int], cell: Cell) -> list[str] | None:
    hidden = editing.attribute(node, "hidden_size", 0)
    if not _plain(node, steps.version) or not hidden:
        return None
    batched = editing.attribute(node, "layout", 0) == 1
    turned = steps("Transpose", node.input[0], perm=[1, 0, 2]) if batched else node.input[0]
    both = editing.attribute(node, "direction", b"forward") == b"bidirectional"
    results = [_direction(steps, node, number, turned, gates, split, cell) for number in range(2 if both else 1)]
    sequence, *states = zip(*results, strict=True)
    made = [_joined(steps, sequence, 1), *(_joined(steps, state, 0) for state in states)]
    if batched:
        made = [
            steps("Transpose", made[0], perm=[2, 0, 1, 3]),
            *(steps("Transpose", m, perm=[1, 0, 2]) for m in made[1:]),
        ]
    return made


def _plain(node: Any, version: int) -> bool:
    """Whether nothing unusual is asked for."""
    given = [text.decode().lower() for text in editing.attribute(node, "activations", [])]
    usual = _DEFAULTS[node.op_type]
    unusual = any(
        item.name in ("clip", "input_forget", "activation_alpha", "activation_beta") for item in node.attribute
    )
    lengths = len(node.input) > _LENGTHS and node.input[_LENGTHS]
    return version >= 13 and not unusual and not lengths and given in ([], usual, usual * 2)


def _joined(steps: Steps, parts: Sequence[str], axis: int) -> str:
    """Directions side by side on a new axis."""
    apart = [steps("Unsqueeze", part, steps.constant([axis], np.int64)) for part in parts]
    return apart[0] if len(apart) == 1 else steps("Concat", *apart, axis=axis)


def _input(node: Any, position: int) -> str:
    return node.input[position] if len(node.input) > position else ""


def _direction(steps: Steps, node: Any, number: int, x: str, gates: int, split: list[int], cell: Cell) -> list[str]:
    """Y [steps, batch, hidden] and the last states of one direction."""
    hidden = editing.attribute(node, "hidden_size", 0)

    def own(position: int) -> str:
        name = _input(node, position)
        return name and steps("Gather", name, steps.constant(number, np.int64), axis=0)

    products = [steps("MatMul", x, steps("Transpose", part)) for part in _parts(steps, own(1), split, hidden)]
    recurrent = tuple(steps("Transpose", part) for part in _parts(steps, own(2), split, hidden))
    bias = tuple(_parts(steps, own(3), [1] * (2 * gates), hidden)) if _input(node, 3) else ()
    peephole = own(7) if node.op_type == "LSTM" else ""
    weights = _Direction(recurrent, _biases(steps, node, bias), tuple(_parts(steps, peephole, [1] * 3, hidden)))
    states = [own(place) or _zeros(steps, x, hidden) for place in _STATES[node.op_type]]
    backwards = editing.attribute(node, "direction", b"forward") == b"reverse" or number == 1
    return _scan(steps, node, cell, weights, products, states, backwards)


def _parts(steps: Steps, tensor: str, sizes: Sequence[int], hidden: int) -> list[str]:
    """Gates of a weight or bias, along its first axis."""
    if not tensor or len(sizes) == 1:
        return [tensor] if tensor else []
    lengths = steps.constant([size * hidden for size in sizes], np.int64)
    return steps.several("Split", (tensor, lengths), len(sizes), axis=0)


def _biases(steps: Steps, node: Any, parts: Sequence[str]) -> tuple[str, ...]:
    """Sums of a gate's two biases; the hidden gate of a GRU keeps them apart, as its cell adds them in turn."""
    if not parts:
        return ()
    half = len(parts) // 2
    pairs = list(zip(parts[:half], parts[half:], strict=True))
    if node.op_type == "GRU":
        return (_stacked(steps, [steps("Add", *pair) for pair in pairs[:2]]), *pairs[2])
    return (_stacked(steps, [steps("Add", *pair) for pair in pairs]),)


def _stacked(steps: Steps, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else steps("Concat", *parts, axis=0)


def _zeros(steps: Steps, x: str, hidden: int) -> str:
    """[batch, hidden] of the node's type."""
    batch = steps("Slice", steps("Shape", x), steps.constant([1], np.int64), steps.constant([2], np.int64))
    shape = steps("Concat", batch, steps.constant([hidden], np.int64), axis=0)
    return steps("Expand", steps.constant(0), shape)


def _scan(
    steps: Steps,
    node: Any,
    cell: Cell,
    weights: _Direction,
    products: Sequence[str],
    states: Sequence[str],
    backwards: bool,
) -> list[str]:
    """Y and the last states."""
    body = onnx.GraphProto(name=f"{steps.label}/step")
    inner = type(steps)(body, steps.names, steps.kind, steps.version, steps.label)
    held = [steps.names.fresh(f"{steps.label}/state") for _ in states]
    parts = [steps.names.fresh(f"{steps.label}/part") for _ in products]
    made = cell(inner, node, weights, parts, held)
    output = inner("Identity", made[0])
    body.node.extend(inner.nodes)
    body.input.extend(helper.make_tensor_value_info(name, steps.kind, None) for name in (*held, *parts))
    body.output.extend(helper.make_tensor_value_info(name, steps.kind, None) for name in (*made, output))
    way = int(backwards)
    *last, sequence = steps.several(
        "Scan",
        (*states, *products),
        len(states) + 1,
        body=body,
        num_scan_inputs=len(products),
        scan_input_directions=[way] * len(products),
        scan_output_directions=[way],
    )
    return [sequence, *last]


def _gate(steps: Steps, x: str) -> str:
    """1 / (1 + exp(-x))."""
    one = steps.constant(1)
    return steps("Div", one, steps("Add", one, steps("Exp", steps("Neg", x))))


def _plus(steps: Steps, x: str, bias: Sequence[str]) -> str:
    for one in bias:
        x = steps("Add", x, one)
    return x


def _lstm_cell(steps: Steps, node: Any, weights: _Direction, parts: Sequence[str], states: Sequence[str]) -> list[str]:
    state, cell = states
    product = steps("MatMul", state, weights.recurrent[0])
    sums = _plus(steps, steps("Add", parts[0], product), weights.bias)
    given, output, forget, change = steps.several("Split", (sums,), 4, axis=-1, **steps.pieces(4))

    def seen(gate: str, position: int, past: str) -> str:
        return steps("Add", gate, steps("Mul", weights.peephole[position], past)) if weights.peephole else gate

    given = _gate(steps, seen(given, 0, cell))
    forget = _gate(steps, seen(forget, 2, cell))
    later = steps("Add", steps("Mul", forget, cell), steps("Mul", given, steps("Tanh", change)))
    output = _gate(steps, seen(output, 1, later))
    return [steps("Mul", output, steps("Tanh", later)), later]


def _gru_cell(steps: Steps, node: Any, weights: _Direction, parts: Sequence[str], states: Sequence[str]) -> list[str]:
    (state,) = states
    gates, change, own = weights.bias or ("", "", "")
    sums = steps("Add", parts[0], steps("MatMul", state, weights.recurrent[0]))
    update, reset = steps.several(
        "Split", (_plus(steps, sums, [gates] if gates else []),), 2, axis=-1, **steps.pieces(2)
    )
    update, reset = _gate(steps, update), _gate(steps, reset)
    if editing.attribute(node, "linear_before_reset", 0):
        inner = _plus(steps, steps("MatMul", state, weights.recurrent[1]), [own] if own else [])
        total = _plus(steps, steps("Add", parts[1], steps("Mul", reset, inner)), [change] if change else [])
    else:
        inner = steps("MatMul", steps("Mul", reset, state), weights.recurrent[1])
        total = _plus(steps, steps("Add", parts[1], inner), [change, own] if own else [])
    kept = steps("Mul", steps("Sub", steps.constant(1), update), steps("Tanh", total))
    return [steps("Add", kept, steps("Mul", update, state))]


def _rnn_cell(steps: Steps, node: Any, weights: _Direction, parts: Sequence[str], states: Sequence[str]) -> list[str]:
    product = steps("MatMul", states[0], weights.recurrent[0])
    return [steps("Tanh", _plus(steps, steps("Add", parts[0], product), weights.bias))]

"""What decides the shapes in a model: constants, the shapes of its inputs, or the values of its data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trtconv.graph import editing, fold

_COUNTING = frozenset({"NonZero", "NonMaxSuppression", "Unique", "Compress"})
"""Operators whose results are as long as there is something to find."""

_SIZING: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "TopK", "OneHot", "Split", "CenterCropPad", "AffineGrid"), (1,)),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "DFT"), (1,)),
    **dict.fromkeys(("ConstantOfShape", "BlackmanWindow", "HannWindow", "HammingWindow"), (0,)),
    "Slice": (1, 2, 3, 4),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Pad": (1, 3),
    "Col2Im": (1, 2),
    "MaxUnpool": (2,),
    "STFT": (1, 3),
}
"""Inputs whose values decide the shape of the result."""

_SIZES = ("Shape", "Size")
_MADE_UP = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


@dataclass(frozen=True)
class Origins:
    """Tensors of the main graph by what decides them.

    Attributes:
        known: constants, and what is computed from constants alone.
        sizes: values that depend on shapes and constants alone.
        open: tensors whose shape depends on data: no profile can be given for them.
    """

    known: frozenset[str]
    sizes: frozenset[str]
    open: frozenset[str]


def origins(
    model: Any,
    *,
    refused: Collection[str] = (),
    deciding: Collection[str] = (),
    measured: Collection[str] = (),
    settled: Collection[str] = (),
    bounded: Collection[str] = (),
) -> Origins:
    """Follow constants, shapes and data through a model whose nodes are sorted and named.

    Args:
        model: ONNX, with inferred shapes.
        refused: nodes that count as computing, even on constants.
        deciding: inputs whose values decide shapes, within a known range.
        measured: tensors that are known to change their shape with data.
        settled: results of branches that are known to have one shape, whichever is taken.
        bounded: tensors whose shape depends on data within a range that somebody gave.
    """
    walk = _Walk(model, frozenset(refused), set(deciding), frozenset(measured), frozenset(settled))
    for node in model.graph.node:
        walk.visit(node)
        walk.open.difference_update(bounded)
    return Origins(frozenset(walk.known), frozenset(walk.sizes - walk.open), frozenset(walk.open))


class _Walk:
    def __init__(
        self, model: Any, refused: frozenset[str], sizes: set[str], measured: frozenset[str], settled: frozenset[str]
    ) -> None:
        self.refused, self.sizes, self.measured, self.settled = refused, sizes, measured, settled
        self.dims = fold.known_dims(model.graph)
        self.known = {tensor.name for tensor in model.graph.initializer}
        self.open = set(measured)

    def visit(self, node: Any) -> None:
        reads, outputs = list(editing.reads(node)), list(filter(None, node.output))
        if self.fixed(node) and self.known.issuperset(reads):
            self.known.update(outputs)
            return
        touched = not self.open.isdisjoint(reads)
        if touched and not _forgets(node):
            self.open.update(outputs)
        self.open.update(self.opened(node, outputs))
        if touched or not self.open.isdisjoint(outputs):
            return
        given = self.known | self.sizes
        if node.op_type in _SIZES or (reads and _plain(node) and given.issuperset(reads)):
            self.sizes.update(outputs)

    def fixed(self, node: Any) -> bool:
        """Whether it gives the same for the same, and may be computed more than once."""
        return _plain(node) and node.name not in self.refused

    def opened(self, node: Any, outputs: list[str]) -> Iterator[str]:
        """Results whose shape depends on data from here on."""
        yield from self.measured.intersection(outputs)
        inside = [inner.op_type for body in editing.bodies(node) for _, inner in editing.walk(body)]
        if not _COUNTING.isdisjoint([node.op_type, *inside]):
            yield from outputs
        given = self.known | self.sizes
        for place in _sizing(node):
            if place < len(node.input) and node.input[place] and node.input[place] not in given:
                yield from outputs
        if editing.bodies(node) and not self.counted(node, given):
            unclear = (name for name in outputs if None in self.dims.get(name, (None,)))
            yield from (name for name in unclear if name not in self.settled)

    def counted(self, node: Any, given: set[str]) -> bool:
        """Whether constants and shapes alone say which branch is taken, or how often a loop turns."""
        if node.op_type == "If":
            return node.input[0] in given
        if node.op_type != "Loop":
            return True  # Scan: as often as its input is long
        body = editing.bodies(node)[0]
        goes_on, kept = body.output[0].name, {body.input[1].name} | {t.name for t in body.initializer}
        kept |= {n.output[0] for n in body.node if n.op_type == "Identity" and n.input[0] in kept} | self.known
        starts = len(node.input) < 2 or not node.input[1] or node.input[1] in self.known
        return bool(node.input[0]) and node.input[0] in given and starts and goes_on in kept


def _plain(node: Any) -> bool:
    return node.domain in editing.ONNX_DOMAINS and node.op_type not in _MADE_UP


def _sizing(node: Any) -> tuple[int, ...]:
    return (1,) if node.op_type.startswith("Reduce") else _SIZING.get(node.op_type, ())


def _forgets(node: Any) -> bool:
    """Whether the shape of what it reads has no part in the shape of its result."""
    if node.op_type in _SIZES:
        return True
    everything = len(node.input) < 2 or not node.input[1]
    named = editing.attribute(node, "axes") or editing.attribute(node, "noop_with_empty_axes", 0)
    return node.op_type.startswith("Reduce") and everything and not named

"""Sums, means and places of largest values; and arrays that are layers of their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from trtconv.sources.caffe.context import LayerContext


def reduction(at: LayerContext) -> str:
    """Coeff times SUM, ASUM (of magnitudes), SUMSQ (of squares) or MEAN of all axes from ``axis`` on."""
    given, rank = at.parameters("reduction_param"), len(at.shape())
    kind = given.choice("operation", ("", "SUM", "ASUM", "SUMSQ", "MEAN"), "SUM")
    axes = list(range(at.axis(given.integer("axis", 0), rank, rank), rank))
    coeff = given.number("coeff", 1)
    part = "" if coeff == 1 else "sum"
    if kind == "MEAN":
        total = at.mean(at.x, axes, part, keep=False)
    else:
        x = at.x if kind == "SUM" else at.add(*_TERMS[kind](at.x), "terms")
        total = at.add("ReduceSum", [x, at.constant(axes, "axes")], part, keepdims=0)
    return total if coeff == 1 else at.add("Mul", [total, at.constant(np.float32(coeff), "coeff")])


_TERMS: dict[str, Callable[[str], tuple[str, list[str]]]] = {
    "ASUM": lambda x: ("Abs", [x]),
    "SUMSQ": lambda x: ("Mul", [x, x]),
}


def argmax(at: LayerContext) -> str:
    """The places of the ``top_k`` largest values as float32, or along an axis with ``out_max_val`` the values.

    Of equal values Caffe takes the one of the highest place: the axis is turned round before the search.
    """
    given, dims = at.parameters("argmax_param"), at.shape()
    top, values, by_axis = given.integer("top_k", 1), given.flag("out_max_val", False), "axis" in given
    axis = at.axis(given.integer("axis", 1), len(dims)) if by_axis else 1
    size = math.prod(at.sizes(dims[axis : axis + 1] if by_axis else dims[1:], "what is searched"))
    x = at.x if by_axis else at.add("Flatten", [at.x], "flat", axis=1)
    names = {"starts": [-1], "ends": [np.iinfo(np.int64).min], "axes": [axis], "steps": [-1]}
    turned = at.add("Slice", [x, *(at.constant(value, name) for name, value in names.items())], "turned")
    wishes = [f"{at.layer.name}/{name}" for name in ("largest", "from_end")]
    largest, place = at.b.several("TopK", [turned, at.constant([top], "top")], wishes, axis=axis)
    number = at.add("Cast", [place], "number", to=TensorProto.FLOAT)
    index = at.add("Sub", [at.constant(np.float32(size - 1), "last"), number], "index")
    if by_axis:
        return at.add("Identity", [largest if values else index])
    found = at.add("Concat", [index, largest], "both", axis=1) if values else index
    shape = [-1, 1 + values, top, *[1] * (len(dims) - 3)]
    return at.add("Reshape", [found, at.constant(shape, "shape")])


def parameter(at: LayerContext) -> str:
    """An array of the caffemodel."""
    shape = at.parameters("parameter_param").message("shape").integers("dim")
    return at.add("Identity", [at.constant(at.array(0, shape, "values"), "values")])


TABLE: dict[str, Callable[[LayerContext], str]] = {"Reduction": reduction, "ArgMax": argmax, "Parameter": parameter}

TRAINED = frozenset({"Parameter"})

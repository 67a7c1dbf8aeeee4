"""Results of detectors with the same number of rows for every image, where Paddle gives as many as it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trtconv.sources.paddle import signatures
from trtconv.sources.paddle.program import Operator, Program


@dataclass(frozen=True)
class Padding:
    """How a variable is filled up.

    Attributes:
        rows: per image.
        fill: value of the others; None: they are copies of the image's first.
        of: the variable whose rows are counted, where it is not this one.
    """

    rows: int
    fill: float | None
    of: str = ""


def computed_from(whole: Program, variable: str, ends: Sequence[str] = ()) -> set[str]:
    """A variable and all that depend on it, but for what operators of the types ``ends`` make."""
    found = {variable}
    for op in whole.main.operators:
        if op.type not in ("fetch", *ends) and found.intersection(op.reads()):
            found.update(op.makes())
    return found


def behind(whole: Program, results: str, outputs: Sequence[str]) -> list[str]:
    """Outputs with a row for each result, such as masks."""
    found = computed_from(whole, results) - {results}
    return [name for name in outputs if name in found and whole.main.variables[name].shape[:1] == (-1,)]


_SUPPRESS = ("multiclass_nms", "multiclass_nms2", "multiclass_nms3")


def of_proposals(whole: Program, found: Mapping[str, Padding], outputs: Sequence[str]) -> dict[str, Padding]:
    """Outputs with a row for each region, such as their scores, where they are of one set of proposals alone."""
    regions = [name for name, padding in found.items() if padding.fill is None and not padding.of]
    levels = {name for op in whole.main.operators if op.type == "distribute_fpn_proposals" for name in op.makes()}
    after = {name: computed_from(whole, name, _SUPPRESS) - {name} - levels for name in regions}
    made: dict[str, Padding] = {}
    for name in outputs:
        sets = [one for one, names in after.items() if name in names]
        if name not in found and len(sets) == 1 and whole.main.variables[name].shape[:1] == (-1,):
            made[name] = Padding(found[sets[0]].rows, None, sets[0])
    return made


def padding_of(whole: Program, outputs: Sequence[str]) -> dict[str, Padding]:
    """How outputs are filled up in the converted model, told from the program alone."""
    found: dict[str, Padding] = {}
    for op in map(signatures.named, whole.main.operators):
        if op.type.startswith("multiclass_nms"):
            rows, (table,) = _results(op, whole), op.outputs["Out"]
            found |= {name: Padding(rows, -1.0) for name in (table, *op.outputs.get("Index", ()))}
            found |= {name: Padding(rows, 0.0, table) for name in behind(whole, table, outputs) if name not in found}
        elif op.type.startswith("generate_proposals"):
            rows = _proposals(op, whole)
            found |= dict.fromkeys(op.outputs.get("RpnRois", ()), Padding(rows, None))
            found |= dict.fromkeys(op.outputs.get("RpnRoiProbs", ()), Padding(rows, 0.0))
    found |= of_proposals(whole, found, outputs)
    return {name: padding for name, padding in found.items() if name in outputs}


def _results(op: Operator, whole: Program) -> int:
    """Rows per image: those that are kept, as far as there are so many candidates."""
    shape = whole.main.variables[op.inputs["Scores"][0]].shape
    classes, boxes = shape[1:3] if len(shape) == 3 else (shape[1], -1)
    classes -= 0 <= op.get("background_label", 0) < classes
    depth = [size for size in (op.get("nms_top_k", -1), boxes) if size > 0]
    every = [classes * min(depth)] if depth and classes > 0 else []
    return min([size for size in (op.get("keep_top_k", -1),) if size > 0] + every, default=0)


def _proposals(op: Operator, whole: Program) -> int:
    sizes = whole.main.variables[op.inputs["Scores"][0]].shape[1:]
    candidates = sizes[0] * sizes[1] * sizes[2] if min(sizes) > 0 else 0
    limits = (op.get("pre_nms_topN", 6000), op.get("post_nms_topN", 1000), candidates)
    return min((limit for limit in limits if limit > 0), default=0)

"""What the integers of a model's inputs are for, told from where they go: data, positions in something, or sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Use:
    """What an operator does with one of its operands.

    Attributes:
        kind: ``position``: an index; ``size``: it decides a shape, an axis or how often; ``data``: any value will do;
            ``moves``: the operator's results are used as this operand's values are.
        bound: positions are below it; 0: not known.
        below: whether numbers from -bound on have a meaning.
        above: whether numbers beyond the bound have one.
    """

    kind: Literal["position", "size", "data", "moves"]
    bound: int = 0
    below: bool = False
    above: bool = False


DATA, SIZE, MOVES = Use("data"), Use("size"), Use("moves")


@dataclass(frozen=True)
class Step:
    """A node with what it does to each operand.

    Attributes:
        inputs: tensors that it reads.
        outputs: tensors that it makes.
        use: what it does with the operand at a place.
        hands: tensors inside functions or bodies that get the values of an operand, by its place.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    use: Callable[[int], Use]
    hands: Mapping[int, tuple[str, ...]]


def uses(inputs: Iterable[str], steps: Iterable[Step]) -> dict[str, Use]:
    """What each input is used for, the narrowest of all its uses.

    Args:
        inputs: names of tensors.
        steps: every node, those of functions and bodies too; no two tensors have the same name.
    """
    readers: dict[str, list[tuple[Step, int]]] = {}
    for step in steps:
        for place, name in enumerate(step.inputs):
            readers.setdefault(name, []).append((step, place))
    return {name: _narrowest(_found(name, readers)) for name in inputs}


def _found(name: str, readers: Mapping[str, list[tuple[Step, int]]]) -> list[Use]:
    found, queue, seen = [], [name], {name}
    while queue:
        for step, place in readers.get(queue.pop(), ()):
            use = step.use(place)
            reached = (*step.hands.get(place, ()), *(step.outputs if use.kind == "moves" else ()))
            queue += [tensor for tensor in reached if tensor not in seen]
            seen.update(reached)
            if use.kind != "moves":
                found.append(use)
    return found


def _narrowest(found: list[Use]) -> Use:
    positions = [use for use in found if use.kind == "position"]
    if not positions:
        return SIZE if SIZE in found else DATA
    bounds = [use.bound for use in positions if use.bound]
    below, above = all(use.below for use in positions), all(use.above for use in positions)
    return Use("position", min(bounds, default=0), below and SIZE not in found, above and SIZE not in found)

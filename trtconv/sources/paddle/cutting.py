"""Parts of a Paddle program: what a choice of outputs needs, and what is left when some operators cannot be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from trtconv.core.errors import SourceError
from trtconv.core.names import choice
from trtconv.sources.paddle.program import FEED_LIST, FETCH_LIST, INT, Attribute, Block, Operator, Program, Variable


@dataclass(frozen=True)
class Cut:
    """Where a program ends early.

    Attributes:
        outputs: of what is left: outputs that did not depend on the operators, and what these read.
        left: the operators themselves and how many of each, such as ``while (1)``.
        after: how many operators behind them go as well.
    """

    outputs: tuple[str, ...]
    left: tuple[str, ...] = ()
    after: int = 0


def single_assignment(program: Program) -> Program:
    """The same with every variable of block 0 written once: what is written in place gets names of its own.

    Inputs and, of the others, the last values keep their names. Weights are left alone: only training writes them.
    """
    main = program.main
    writes = Counter(name for op in main.operators for name in op.makes())
    taken, now, seen = set(main.variables), dict[str, str](), Counter[str]()
    block, operators = Block(main.index, main.parent, dict(main.variables), [], main.rest), []
    fed = set(program.feeds())
    for op in main.operators:
        inputs = {key: [now.get(name, name) for name in names] for key, names in op.inputs.items()}
        outputs: dict[str, list[str]] = {}
        for key, names in op.outputs.items():
            outputs[key] = []
            for name in names:
                seen[name] += 1
                weight = name in main.variables and main.variables[name].persistable
                keeps = seen[name] == (1 if name in fed else writes[name])
                new = name if weight or keeps else _fresh(f"{name}.{seen[name]}", taken)
                if new != name and name in main.variables:
                    block.variables[new] = replace(main.variables[name], name=new)
                now[name] = new
                outputs[key].append(new)
        operators.append(Operator(op.type, inputs, outputs, op.attributes))
    block.operators = operators
    return Program([block, *program.blocks[1:]], program.version, program.rest)


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def require_outputs(program: Program, names: Iterable[str]) -> None:
    """Fail on outputs that are not there.

    Raises:
        SourceError: no variable of that name is computed.
    """
    made = {name for op in program.main.operators if op.type not in ("feed", "fetch") for name in op.makes()}
    for name in names:
        if name not in made:
            valid = [*program.fetches(), *sorted(made)]
            raise SourceError(
                f"no output or variable {name!r}; the outputs are {', '.join(program.fetches())}",
                hint=choice(name, valid),
            )


def frontier(program: Program, taken: Callable[[Operator], bool]) -> Cut:
    """Where a program has to end when only some operators can be had.

    Args:
        program: with every variable written once.
        taken: whether an operator can be had.

    Raises:
        SourceError: nothing would be left.
    """
    moving = set(program.feeds())  # what depends on an input: the rest is constant and no use as an output
    gone: set[str] = set()
    left, ends, after = Counter[str](), list[str](), 0
    for op in program.main.operators:
        if op.type in ("feed", "fetch"):
            continue
        lost = any(name in gone for name in op.reads())
        if not lost and taken(op):
            if any(name in moving for name in op.reads()):
                moving.update(op.makes())
            continue
        if taken(op):
            after += 1
        else:
            left[op.type] += 1
        ends += [name for name in op.reads() if name in moving and name not in gone]
        gone.update(op.makes())
        moving.difference_update(op.makes())
    fed = set(program.feeds())
    kept = [name for name in program.fetches() if name not in gone]
    outputs = tuple(dict.fromkeys([*kept, *(name for name in ends if name not in fed)]))
    if not outputs:
        raise SourceError(f"nothing is left without {', '.join(left)}", hint="export the model without them")
    return Cut(outputs, tuple(f"{op} ({count})" for op, count in left.items()), after)


def cut(program: Program, outputs: Sequence[str], inputs: Collection[str] = ()) -> Program:
    """The part of a program that makes these outputs, in this order.

    Args:
        program: with every variable written once.
        outputs: variables of block 0.
        inputs: variables that are fed instead of computed, besides the program's own inputs.

    Raises:
        SourceError: an output depends on no input.
    """
    needed, kept = set(outputs), list[Operator]()
    for op in reversed(program.main.operators):
        makes = [name for name in op.makes() if name not in inputs]
        if op.type not in ("feed", "fetch") and needed.intersection(makes):
            kept.insert(0, op)
            needed.update(op.reads())
    feeds = [name for name in [*program.feeds(), *inputs] if name in needed]
    if not feeds:
        raise SourceError(f"outputs {', '.join(outputs)} depend on no input", hint="choose others: convert.outputs")
    block = Block(program.main.index, program.main.parent, {}, [], program.main.rest)
    block.variables = _variables(program.main, kept, [*feeds, *outputs])
    block.operators = [
        *(_feed(name, col) for col, name in enumerate(feeds)),
        *kept,
        *(_fetch(name, col) for col, name in enumerate(outputs)),
    ]
    bodies = program.blocks[1:] if any(_has_body(op) for op in kept) else []
    return Program([block, *bodies], program.version, program.rest)


def _has_body(op: Operator) -> bool:
    return any(name.endswith(("sub_block", "blocks")) for name in op.attributes)


def _variables(block: Block, operators: Iterable[Operator], ends: Iterable[str]) -> dict[str, Variable]:
    """Those that are named, in their order, and the lists of feeds and fetches."""
    named = set(ends).union(*([*op.reads(), *op.makes()] for op in operators))
    found = {name: variable for name, variable in block.variables.items() if name in named}
    found["feed"] = block.variables.get("feed", Variable("feed", FEED_LIST, persistable=True))
    found["fetch"] = block.variables.get("fetch", Variable("fetch", FETCH_LIST, persistable=True))
    return found


def _feed(name: str, col: int) -> Operator:
    return Operator("feed", {"X": ["feed"]}, {"Out": [name]}, {"col": Attribute(INT, col)})


def _fetch(name: str, col: int) -> Operator:
    return Operator("fetch", {"X": [name]}, {"Out": ["fetch"]}, {"col": Attribute(INT, col)})

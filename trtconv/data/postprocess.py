"""What happens to outputs before they are written: rows of a job, checked before anything runs.

    postprocess:
      - softmax: {output: logits}
      - topk: {k: 3, labels: classes.txt}

A row may leave ``output`` out when there is only one. ``argmax``, ``topk`` and ``threshold`` put their results in the
output's place, under names of their own. ``call: {function: module:name}`` hands all outputs to a function of the
user's, a mapping to a mapping, where code is allowed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.lazy import resolve
from trtconv.core.names import did_you_mean
from trtconv.data import postprocess_rows

Outputs = dict[str, np.ndarray]
_FEW = 16  # of the largest: found one after the other


@dataclass(frozen=True)
class _Operation:
    """One kind of row: what it makes of an output's name, and what it does."""

    makes: Callable[[str, Mapping[str, Any]], list[str]]
    apply: Callable[[np.ndarray, Mapping[str, Any]], list[np.ndarray]]
    axis: bool = True


Function = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
_Step = tuple[_Operation, str, Mapping[str, Any]]


class Chain:
    """Rows ready to be applied.

    Attributes:
        unclear: output -> samples of which it holds NaN.
        guessed: output -> the axis that its classes most likely are, where nobody said it.
    """

    def __init__(self, steps: Sequence[_Step | Function]) -> None:
        self._steps = steps
        self._turn = threading.Lock()
        self.unclear: dict[str, int] = {}
        self.guessed: dict[str, str] = {}

    def _note(self, name: str, values: np.ndarray) -> None:
        """Count samples of which nobody can tell the class."""
        if values.dtype.kind == "f" and np.isnan(values).any():
            count = int(np.isnan(values.reshape(len(values), -1)).any(axis=1).sum())
            with self._turn:
                self.unclear[name] = self.unclear.get(name, 0) + count

    def __call__(self, outputs: Mapping[str, np.ndarray]) -> Outputs:
        """Outputs by name after all rows; the first axis is samples.

        Raises:
            UsageError: an output that a row cannot work on, or labels that are not one per class.
        """
        current = dict(outputs)
        for step in self._steps:
            if not isinstance(step, tuple):
                current = _called(step, current)
                continue
            operation, output, options = step
            if output not in current:  # a function of the user's decides which outputs there are
                raise UsageError(
                    f"postprocess: no output {output!r}; there are {', '.join(current)}",
                    hint=did_you_mean(output, current),
                )
            values = current.pop(output)
            if values.dtype.kind in "OUS":
                raise UsageError(f"postprocess: output {output!r} holds texts, not numbers", hint="name another output")
            if operation.axis:
                labels = len(options.get("labels", ""))
                axis, guessed = class_axis(output, values.shape, options["axis"], labels)
                options = {**options, "axis": axis}
                if guessed:
                    self.guessed[output] = f"axis {axis} of {list(values.shape)}"
            self._note(output, values)
            names = operation.makes(output, options)
            current.update(zip(names, operation.apply(values, options), strict=True))
        return current


def prepare(rows: Sequence[Mapping[str, object]], outputs: Sequence[str], *, allow_code: bool = False) -> Chain:
    """Check rows against a model's outputs.

    Args:
        rows: of the job, in order.
        outputs: names of the model's outputs.
        allow_code: whether rows may call functions of the user's.

    Raises:
        UsageError: an unknown operation, option or output, a labels file that cannot be read, a function that is not
            allowed or not there.
    """
    names, steps, known = list(outputs), list[_Step | Function](), True
    for number, row in enumerate(rows):
        where = f"postprocess row {number + 1}"
        if list(row) == ["call"]:
            steps.append(_function(row["call"], where, allow_code))
            known = False
            continue
        name, options = postprocess_rows.parse(row, where)
        operation = OPERATIONS[name]
        if options.get("labels"):
            options["labels"] = np.array(options["labels"])
        given = options.pop("output")
        output = _output(given, names, where) if known or not given else given
        steps.append((operation, output, options))
        names = [name for name in names if name != output] + operation.makes(output, options)
    return Chain(steps)


def softmax(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Softmax over an axis, computed in float32 after subtracting the maximum."""
    scaled = np.asarray(values, np.float32)
    with np.errstate(invalid="ignore"):  # of infinities, which become NaN
        scaled = np.exp(scaled - scaled.max(axis, keepdims=True))
        result: np.ndarray = scaled / scaled.sum(axis, keepdims=True)
    return result


def class_axis(name: str, shape: Sequence[int], axis: int | None, labels: int) -> tuple[int, bool]:
    """The axis of classes, and whether it is only the most likely one, which is to be told.

    It is the one asked for, else the last one of tables and sequences. Of images, [batch, classes, height, width] or
    [batch, height, width, classes], it is the one that has as many entries as there are labels, or the one beside two
    equal ones; else, most likely, one that has less than half the entries of each other one.

    Raises:
        UsageError: there is none, or nothing tells which.
    """
    rank, listed = len(shape), f"output {name!r} of shape {list(shape)}"
    if rank < 2:
        raise UsageError(f"postprocess: {listed} has no axis of classes", hint="name another output")
    if axis is not None:
        if not -rank < axis < rank or axis % rank == 0:
            raise UsageError(f"postprocess: {listed} has no axis {axis} of classes", hint=f"axis: 1 to {rank - 1}")
        return axis % rank, False
    if rank < 4:
        return rank - 1, False
    named = [place for place in range(1, rank) if labels and shape[place] == labels]
    if rank == 4 and not named:
        _, first, second, third = shape
        named = [1] * (second == third != first) + [3] * (first == second != third)
    sure = len(named) == 1
    if not sure and not labels:
        named = [place for place in (1, rank - 1) if all(2 * shape[place] < n for n in _without(shape[1:], place - 1))]
    if len(named) != 1:
        raise UsageError(
            f"postprocess: nothing tells which axis of {listed} holds the classes",
            hint="say it: axis: 1 for [batch, classes, height, width], axis: -1 where they come last",
        )
    return named[0], not sure


def _without(sizes: Sequence[int], place: int) -> Sequence[int]:
    return [size for at, size in enumerate(sizes) if at != place]


def _function(given: object, where: str, allow_code: bool) -> Function:
    target = postprocess_rows.target(given, where)
    if not allow_code:
        raise UsageError(
            f"{where}: the function {target} is code, which runs only by your leave",
            hint="add --allow-code if you trust it",
        )
    try:
        function: Function = resolve(target)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{where}: {target} cannot be imported: {error}", hint="set PYTHONPATH to the folder of the module"
        ) from None
    return function


def _called(function: Function, outputs: Mapping[str, np.ndarray]) -> Outputs:
    """What a function of the user's makes of outputs, held to what the writers need."""
    count = len(next(iter(outputs.values())))
    try:
        found = {str(name): np.asarray(value) for name, value in function(outputs).items()}
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(
            f"postprocess: {function.__name__} raised {type(error).__name__}: {error}",
            hint="try the function on its own",
        ) from error
    if any(value.ndim < 1 or len(value) != count for value in found.values()):
        raise UsageError(
            f"postprocess: {function.__name__} must return arrays with one entry per sample ({count})",
            hint="the first axis counts samples",
        )
    return found


def _output(name: str, names: Sequence[str], where: str) -> str:
    if not name and len(names) == 1:
        return names[0]
    if name in names:
        return name
    what = f"no output {name!r}" if name else "which output is meant?"
    raise UsageError(
        f"{where}: {what} There are {', '.join(names)}", hint=did_you_mean(name, names) or "name one: {output: NAME}"
    )


def _labelled(classes: np.ndarray, count: int, options: Mapping[str, Any]) -> list[np.ndarray]:
    labels = options["labels"]
    if not len(labels):
        return []
    if len(labels) != count:
        raise UsageError(
            f"postprocess: the output has {count} classes, and there are {len(labels)} labels",
            hint="give one label per class, in their order",
        )
    return [np.where(classes < 0, "", labels[classes])]


def _softmax(values: np.ndarray, options: Mapping[str, Any]) -> list[np.ndarray]:
    return [softmax(values, options["axis"])]


def _argmax(values: np.ndarray, options: Mapping[str, Any]) -> list[np.ndarray]:
    """The class of the largest value; -1 where one of them is NaN."""
    axis = options["axis"]
    classes = np.where(_unclear(values, axis), -1, values.argmax(axis)).astype(np.int64)
    return [classes, *_labelled(classes, values.shape[axis], options)]


def _topk(values: np.ndarray, options: Mapping[str, Any]) -> list[np.ndarray]:
    """Ties go to the lower class number, as argmax does; where a value is NaN, classes are -1 and scores NaN."""
    axis = options["axis"]
    last = np.moveaxis(values, axis, -1)
    order = _largest(last, min(options["k"], last.shape[-1]))
    scores = np.take_along_axis(last, order, -1)
    if (unclear := _unclear(last, -1)[..., None]).any():
        order, scores = np.where(unclear, -1, order), np.where(unclear, np.nan, scores)
    made = [order, scores, *_labelled(order, last.shape[-1], options)]
    return [np.moveaxis(one, -1, axis) for one in made]


def _unclear(values: np.ndarray, axis: int) -> np.ndarray:
    """Where no value is the largest: one of them is NaN."""
    found: np.ndarray = np.isnan(values).any(axis) if values.dtype.kind == "f" else np.zeros(1, bool)
    return found


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest along the last axis, the largest first, equal ones in their order."""
    numbers = values if values.dtype == np.float32 else values.astype(np.float64)
    if k > _FEW or not np.isfinite(numbers).all():
        return np.argsort(-numbers, axis=-1, kind="stable")[..., :k]
    left = numbers.reshape(-1, values.shape[-1]).copy()
    found, rows = np.empty((len(left), k), np.int64), np.arange(len(left))
    for place in range(k):  # a tenth of the time of sorting all
        found[:, place] = left.argmax(-1)
        left[rows, found[:, place]] = -np.inf
    return found.reshape(*values.shape[:-1], k)


def _threshold(values: np.ndarray, options: Mapping[str, Any]) -> list[np.ndarray]:
    """Whether each value is greater than the bound."""
    return [values > options["above"]]


def _names(name: str, parts: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    return [f"{name}_{part}" for part in (*parts, *(["label"] if len(options["labels"]) else []))]


OPERATIONS: Mapping[str, _Operation] = {
    "softmax": _Operation(lambda name, _: [name], _softmax),
    "argmax": _Operation(lambda name, o: _names(name, ["class"], o), _argmax),
    "topk": _Operation(lambda name, o: _names(name, ["class", "score"], o), _topk),
    "threshold": _Operation(lambda name, _: [f"{name}_above"], _threshold, False),
}
"""What a row of each name does; see ``postprocess_rows.OPTIONS``."""

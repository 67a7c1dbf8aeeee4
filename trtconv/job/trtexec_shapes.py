"""Shapes as trtexec writes them: ``input0:1x3x224x224,'Input:1':8x10``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtconv.core.names import did_you_mean
from trtconv.core.records import TensorInfo

Shapes = Mapping[str, tuple[int, ...]]
Given = Mapping[str, tuple[str, ...]]
Inputs = Sequence[TensorInfo] | None


BOUNDS = ("minShapes", "optShapes", "maxShapes")


def read(given: Given, flag: str, inputs: Inputs, problems: list[str], profile: int = 0) -> dict[str, tuple[int, ...]]:
    """The shapes of one flag in a profile; a scalar has an empty one. What is wrong is added to ``problems``."""
    shapes = {}
    known = None if inputs is None else [info.name for info in inputs]
    values = given.get(flag, ())
    for pair in filter(None, values[profile].split(",") if profile < len(values) else ()):
        quoted, colon, text = pair.rpartition(":")
        name = quoted.strip().strip("'")
        dims = () if text in ("", "scalar") else tuple(text.lower().split("x"))
        least = 0 if flag == "minShapes" else 1
        if not colon or not name or not all(dim.isdigit() and int(dim) >= least for dim in dims):
            problems.append(f"--{flag}={pair}: expected NAME:DIMxDIMx..., as in image:1x3x224x224")
        elif "*" in name:
            problems.append(f"--{flag}={pair}: write the input's whole name; wildcards are not understood")
        elif known is not None and name not in known:
            hint = did_you_mean(name, known) or f"the inputs are {', '.join(known)}"
            problems.append(f"--{flag}={pair}: the model has no input {name!r}; {hint}")
        else:
            shapes[name] = tuple(int(dim) for dim in dims)
    return shapes


def profiles(given: Given, inputs: Inputs, problems: list[str], notes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The profiles of each input that has any, as the job's keys: as many of each, one for every --profile."""
    count = max(len(given.get(flag, ())) for flag in ("profile", *BOUNDS)) or 1
    each = [_profile(given, inputs, problems, notes, number) for number in range(count)]
    missing = [
        f"--profile={number}: expected shapes of {name}"
        for number, found in enumerate(each)
        for name in each[0]
        if name not in found
    ]
    problems += missing
    if count > 1 and "shapes" in given and "optShapes" not in given:
        problems.append("--shapes: several profiles need --minShapes, --optShapes and --maxShapes of their own")
    return {} if missing else {name: [found[name] for found in each] for name in each[0]}


def _profile(
    given: Given, inputs: Inputs, problems: list[str], notes: list[str], number: int
) -> dict[str, dict[str, Any]]:
    """One profile, as the job's keys.

    As in trtexec, --shapes alone is minimum, optimum and maximum in one, a bound that is missing is the optimum, and a
    dynamic dimension that nothing is said of becomes 1.
    """
    low, opt, high = (read(given, flag, inputs, problems, number) for flag in BOUNDS)
    only = read(given, "shapes", inputs, problems)
    bounded = low or opt or high
    if (low or high) and not opt:
        problems.append("--minShapes and --maxShapes need --optShapes: the shapes to be fast at")
    opt = opt if bounded else only
    found = {
        name: {"min": list(low.get(name, dims)), "opt": list(dims), "max": list(high.get(name, dims))}
        for name, dims in opt.items()
        if dims  # a scalar has nothing to vary
    }
    for info in inputs or ():
        if info.name not in found and any(_dynamic(dim) for dim in info.shape) and not (low or high):
            found[info.name] = {"min": [1], "opt": [1], "max": [1]}
            notes.append(f"nothing is said of the shape of {info.name}: its dynamic dimensions become 1, as in trtexec")
    return found


def ranges_to_measure(given: Given, inputs: Inputs, problems: list[str]) -> dict[str, tuple[int, ...]]:
    """The shapes to measure: --shapes, else those to optimize for, else the model's own.

    Measurements vary the batch only, which is the first dimension of all inputs; other shapes are refused.
    """
    ignore: list[str] = []  # both flags were judged when the profiles were read
    best = read(given, "optShapes", inputs, ignore)
    only = read(given, "shapes", inputs, problems if "loadEngine" in given else ignore)
    shapes = {**best, **only}
    for info in inputs or ():
        shapes.setdefault(info.name, tuple(1 if _dynamic(dim) else int(dim) for dim in info.shape))
    moved = [name for name, dims in only.items() if name in best and dims[1:] != best[name][1:]]
    if moved:
        problems.append(
            f"--shapes: {moved[0]} differs from --optShapes in more than the batch, and trtconv measures "
            "at the optimum; build an engine with those as --optShapes"
        )
    batches = {name: dims[0] for name, dims in shapes.items() if dims and _first_varies(name, inputs)}
    if len(set(batches.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in batches.items())
        problems.append(f"the first dimensions differ ({listed}); trtconv measures inputs with one batch size")
    order = sorted(shapes, key=lambda name: name not in batches)  # the first shape that is there tells the batch
    return {name: shapes[name] for name in order}


def _first_varies(name: str, inputs: Inputs) -> bool:
    return inputs is None or any(info.name == name and info.shape and _dynamic(info.shape[0]) for info in inputs)


def _dynamic(dim: int | str) -> bool:
    return not isinstance(dim, int) or dim < 0

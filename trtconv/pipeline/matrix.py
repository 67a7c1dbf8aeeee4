"""The cells of a job: one engine each. Without a matrix, one per precision."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.records import TensorInfo
from trtconv.job.schema import Job
from trtconv.job.schema_inputs import Profile


@dataclass(frozen=True)
class Cell:
    """One engine.

    Attributes:
        label: unique in the job, such as ``fp16`` or ``fp16-b8-sm86``; part of file names.
        precision: of its typed ONNX.
        job: the job with this cell's targets and batch sizes.
        profile: for every input with a dynamic dimension; None: what the job says of each input.
    """

    label: str
    precision: str
    job: Job
    profile: Profile | None = None

    def profiles(self, interface: tuple[TensorInfo, ...]) -> Mapping[str, list[Profile]]:
        """The profiles of each input that has any."""
        if self.profile is None:
            return {name: spec.profile for name, spec in self.job.inputs.items() if spec.profile is not None}
        dynamic = [t.name for t in interface if any(not isinstance(dim, int) or dim < 0 for dim in t.shape)]
        return {name: [self.profile] for name in dynamic}


def cells(job: Job) -> list[Cell]:
    """All cells, in the order of the matrix.

    Raises:
        UsageError: everything is excluded.
    """
    if job.matrix is None:
        return [Cell(precision, precision, job) for precision in job.precision]
    found = [_cell(job, choice) for choice in choices(job)]
    if not found:
        raise UsageError("matrix: every combination is excluded", hint="leave out a rule of matrix.exclude")
    return found


def choices(job: Job) -> list[dict[str, Any]]:
    """The matrix as one mapping per cell: axis -> value. Product of the axes, less ``exclude``, plus ``include``."""
    matrix = job.matrix
    assert matrix is not None
    product = _product(job)
    kept = [choice for choice in product if not any(_matches(choice, rule) for rule in matrix.exclude)]
    return kept + [cell for cell in _included(job) if cell not in kept]


def idle(job: Job) -> list[str]:
    """A sentence for each rule of the matrix that changes nothing: it is misspelt, or an axis is not what it was."""
    if job.matrix is None:
        return []
    product, found = _product(job), []
    for number, rule in enumerate(job.matrix.exclude):
        if not any(_matches(choice, rule) for choice in product):
            found.append(f"matrix.exclude[{number}] leaves nothing out: no combination has {_words(_named(rule))}")
    kept = choices(job.replaced(matrix=job.matrix.replaced(include=[])))
    for number, cell in enumerate(_included(job)):
        if cell in kept:
            found.append(f"matrix.include[{number}] adds nothing: {_words(cell)} is there without it")
    return found


def _words(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} {value}" for axis, value in cell.items())


def _product(job: Job) -> list[dict[str, Any]]:
    matrix = job.matrix
    assert matrix is not None
    axes: dict[str, list[Any]] = {
        "precision": list(matrix.precision or job.precision),
        **({"batch": list(matrix.batch)} if matrix.batch else {}),
        **({"profile": list(matrix.profile)} if matrix.profile else {}),
        **({"target": list(matrix.target)} if matrix.target else {}),
    }
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _included(job: Job) -> list[dict[str, Any]]:
    assert job.matrix is not None
    return [{"precision": job.precision[0], **_named(cell)} for cell in job.matrix.include]


def _matches(choice: Mapping[str, Any], rule: Any) -> bool:
    return all(choice.get(axis) == value for axis, value in _named(rule).items())


def _named(cell: Any) -> dict[str, Any]:
    return {axis: value for axis, value in cell.items() if value is not None}


def _cell(job: Job, choice: Mapping[str, Any]) -> Cell:
    batch, named, target = choice.get("batch"), choice.get("profile"), choice.get("target")
    words = [choice["precision"], f"b{batch}" if batch else "", named or "", target or ""]
    profile = None
    if named is not None and job.matrix is not None:
        profile = job.matrix.profile[named]
    if batch is not None:  # the engine for exactly this batch, unless a profile is chosen too
        profile = profile or Profile(min=[batch], opt=[batch], max=[batch])
    changes: dict[str, Any] = {}
    if target is not None:
        changes["build"] = job.build.replaced(targets=[target])
    if batch is not None and job.bench is not None:
        changes["bench"] = job.bench.replaced(batch=[batch])
    if batch is not None and job.infer is not None:
        changes["infer"] = job.infer.replaced(batch=batch)
    return Cell("-".join(filter(None, words)), choice["precision"], job.replaced(**changes), profile)

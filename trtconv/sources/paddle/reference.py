"""Paddle's own executor, in the interpreter that has Paddle: what a conversion is compared with."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import interpreter
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import ignore
from trtconv.core.interpreter import Guest
from trtconv.core.records import SourceSpec, TensorInfo
from trtconv.sources.paddle import converters, cutting, files, network, paddle3, signatures, upgrade
from trtconv.sources.paddle.network import Network
from trtconv.sources.paddle.padding import Padding, padding_of
from trtconv.sources.paddle.program import Program

_COUNTS = ("NmsRoisNum", "RpnRoisNum")


class PaddleModel:
    """A part of a network, run by Paddle; its process ends with it.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise; results of a detector as the converted model has them, by image.

    Args:
        found: the network.
        outputs: variables to give.
        python: interpreter that has Paddle; None: trtconv's own.
        padded: outputs that get a fixed number of rows per image, as the converted model has them.
    """

    def __init__(
        self, found: Network, outputs: Sequence[str], python: Path | None, padded: Mapping[str, Padding]
    ) -> None:
        self._network, self._padded = found, padded
        whole = found.program if found.document is not None else upgrade.runnable(found.program)
        self._counts = _counts(whole, padded)
        extra = [name for name in dict.fromkeys(self._counts.values()) if name not in outputs]
        self._part = cutting.cut(whole, [*outputs, *extra])
        self.inputs = found.info(self._part.feeds())
        self.outputs = tuple(_by_image(info, padded) for info in found.info(outputs))
        self._interpreter = interpreter.find(python, paddle3.RUNS)
        self._guest: Guest | None = None

    def framework(self) -> str:
        """Paddle with its version."""
        versions = self._interpreter.versions(paddle3.PADDLE)
        number = next((versions[name] for name in paddle3.PADDLE if versions.get(name)), "")
        return f"Paddle {number}".strip()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch.

        Raises:
            SourceError: Paddle does not load or does not run it.
        """
        guest = self._guest = self._guest or self._started()
        given, found = guest.folder / "inputs.npz", guest.folder / "outputs.npz"
        arrays: Any = {name: feeds[name] for name in self._part.feeds()}
        np.savez(given, **arrays)
        rows = guest.call("run", {"inputs": given, "outputs": found})["rows"]
        with np.load(found) as stored:
            made = {name: stored[str(place)] for place, name in enumerate(self._part.fetches())}
        lengths = dict(zip(self._part.fetches(), rows, strict=True))
        lengths |= {name: made[count].ravel().tolist() for name, count in self._counts.items()}
        return {info.name: self._filled(info.name, made[info.name], lengths[info.name]) for info in self.outputs}

    def close(self) -> None:
        """End Paddle's process."""
        if self._guest is not None:
            self._guest.close()
            self._guest = None

    def _started(self) -> Guest:
        """Paddle with the program open."""
        guest = Guest(self._interpreter, paddle3.MODULE, paddle3.RUNS, ignore)
        weakref.finalize(self, guest.close)
        path = guest.folder / f"part{'.pdmodel' if self._network.document is None else '.json'}"
        path.write_bytes(self._network.bytes_of_part(self._part))
        weights = converters.weights_file(self._network.tensors(), self._part, self._network, guest.folder)
        if weights is None:
            path.with_suffix(".pdiparams").write_bytes(b"")
        elif weights.parent != guest.folder:
            path.with_suffix(".pdiparams").symlink_to(weights.resolve())
        guest.call("load", {"program": path})
        return guest

    def _filled(self, name: str, array: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """An output with as many rows for every image as the converted model has."""
        if name not in self._padded:
            return array
        count, fill = self._padded[name].rows, self._padded[name].fill
        said = self._network.program.main.variables[name].shape[1:]
        if not _fits(array, said):  # so Paddle 1 says that it found nothing
            array = np.zeros((0, *(max(dim, 1) for dim in said)), array.dtype)
        table = np.zeros((max(len(lengths), 1), count, *array.shape[1:]), array.dtype)
        start = 0
        for image, length in enumerate(lengths or [len(array)]):
            rows = array[start : start + length][:count]
            table[image] = fill if fill is not None else rows[:1] if len(rows) else 0
            table[image, : len(rows)] = rows
            start += length
        return table


def _fits(array: np.ndarray, said: Sequence[int]) -> bool:
    """Whether an array has the dimensions, behind the first, that its variable has."""
    if array.ndim != len(said) + 1:
        return False
    return all(dim in (-1, size) for dim, size in zip(said, array.shape[1:], strict=True))


def _by_image(info: TensorInfo, padded: Mapping[str, Padding]) -> TensorInfo:
    if info.name not in padded:
        return info
    return TensorInfo(info.name, info.dtype, ("batch", padded[info.name].rows, *info.shape[1:]))


def _counts(program: Program, padded: Mapping[str, Padding]) -> dict[str, str]:
    """The variable that counts the rows of each image, for outputs that have one; older ones count them themselves."""
    found: dict[str, str] = {}
    for op in map(signatures.named, program.main.operators):
        counts = [name for parameter in _COUNTS for name in op.outputs.get(parameter, ())]
        if counts:
            found |= {name: counts[0] for name, one in padded.items() if (one.of or name) in op.makes()}
    return found


def open_model(spec: SourceSpec) -> PaddleModel:
    """The model, ready to run.

    Raises:
        SourceError: damaged or foreign, or without such an output.
        EnvironmentProblem: Paddle is not there.
    """
    found = network.read(files.find(spec.path, spec.weights))
    feeds = found.program.feeds()
    outputs = spec.outputs or tuple(name for name in dict.fromkeys(found.program.fetches()) if name not in feeds)
    cutting.require_outputs(found.program, outputs)
    return PaddleModel(found, outputs, spec.python, padding_of(found.program, outputs))


def absent(python: Path | None) -> str:
    """Why a model cannot be compared; empty: it can.

    Raises:
        EnvironmentProblem: an interpreter was named, and it or Paddle is not there.
    """
    try:
        interpreter.find(python, paddle3.RUNS)
    except EnvironmentProblem:
        if python is not None:
            raise
        return "Paddle is not installed here; source.python names an interpreter that has it"
    return ""

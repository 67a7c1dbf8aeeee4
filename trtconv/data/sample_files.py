"""All samples of one input, spread over files, and the files that can hold samples."""

from __future__ import annotations

import contextlib
import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from trtconv.core import digests
from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean, path_meant
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data import images, sample_axes
from trtconv.data.arrays import Array, open_npy, open_npz_member
from trtconv.data.casting import cast, is_float, may_hold
from trtconv.data.decoding import BadImage, Decoders
from trtconv.data.preprocess import Chain
from trtconv.data.sample_parts import IMAGE, BadSample, Image, Part, Prepared

_DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "float8e4m3fn": ml_dtypes.float8_e4m3fn,
}


class Column:
    """All samples of one input.

    Attributes:
        info: the input, its shape as samples see it: their number first.
        axis: the one of the model's input that counts samples; None where each sample is the whole input.
    """

    def __init__(self, info: TensorInfo, parts: Sequence[Part], axis: sample_axes.Axis = 0) -> None:
        self.axis = axis
        self.info = sample_axes.as_samples(info, axis)
        self.dtype = dtype_of(info)
        self.parts = parts
        for part in parts:
            self._check(part)
        self.ends = np.cumsum([part.shape[0] for part in parts])
        self._kinds = list(dict.fromkeys(self._sample_shape(part) for part in parts))
        self._kind_of_part = np.array([self._kinds.index(self._sample_shape(part)) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def pictures(self) -> bool:
        """Whether every part is an image, in the input's type once it is prepared."""
        return all(_is_picture(part) and part.dtype == self.dtype for part in self.parts)

    def decode(self, rows: np.ndarray, out: np.ndarray, decoders: Decoders) -> None:
        """``read``, by other processes; only for pictures."""
        with _numbered(rows):
            decoders.read([self.parts[row].path for row in rows], out)

    def send(self, rows: np.ndarray, target: Any, decoders: Decoders) -> None:
        """Samples by number, made on a GPU of what other processes decode; only for pictures."""
        with _numbered(rows):
            decoders.send([self.parts[row].path for row in rows], target)

    def kinds(self, rows: np.ndarray) -> np.ndarray:
        """A number per sample; samples with the same one have the same shape."""
        return self._kind_of_part[np.searchsorted(self.ends, rows, side="right")]

    def shape(self, rows: np.ndarray) -> tuple[int, ...]:
        """Of an array that holds these samples, which all have the same shape."""
        return (len(rows), *self._kinds[int(self.kinds(rows[:1])[0])])

    def fed_shape(self, rows: np.ndarray) -> tuple[int, ...]:
        """Of an array that the model takes with these samples."""
        return sample_axes.fed_shape(self.shape(rows), self.axis)

    def feed(self, rows: np.ndarray, out: np.ndarray) -> None:
        """``read`` into an array as the model takes it, or the first part of one for more samples."""
        if self.axis == 0:
            self.read(rows, out)
            return
        samples = np.empty(self.shape(rows), self.dtype)
        self.read(rows, samples)
        sample_axes.front(out, self.axis)[: len(rows)] = samples

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy samples by number (ascending) to ``out``, checked and in its type.

        Raises:
            BadSample: one that is damaged, not finite, or that the type cannot hold.
        """
        places = np.searchsorted(self.ends, rows, side="right")
        done = 0
        for place in np.unique(places):
            part = self.parts[place]
            begin = int(self.ends[place]) - int(part.shape[0] or 0)
            inside = rows[places == place] - begin
            self._read(part, inside, begin, out[done : done + len(inside)])
            done += len(inside)

    def _read(self, part: Part, rows: np.ndarray, begin: int, out: np.ndarray) -> None:
        lossless, floats = True, is_float(self.dtype)
        try:
            if part.dtype == self.dtype:
                sound = [not floats or _finite(block) for block in part.blocks_into(rows, out)]
                finite = all(sound)  # after all are read
            else:
                out[...], lossless = cast(part.rows(rows), self.dtype)
                finite = not floats or _finite(out)
        except BadSample as error:
            raise error.at(begin + int(rows[0]) if error.row < 0 else begin + error.row) from None
        if not finite and not _is_mask(out):
            bad = int(rows[np.nonzero(~np.isfinite(out).reshape(len(rows), -1).all(axis=1))[0][0]])
            what = (
                f"sample {bad} of input {self.info.name!r} holds NaN, infinity or a value that {self.dtype} cannot hold"
            )
            problem = BadSample(f"{part.label}: {what}", hint="remove or repair that sample")
            raise problem.at(begin + bad)
        if not lossless:
            raise UsageError(
                f"{part.label}: input {self.info.name!r} takes {self.dtype}, which cannot hold all of "
                f"these {part.dtype} values",
                hint=f"store the samples as {self.dtype}",
            )

    def _sample_shape(self, part: Part) -> tuple[int, ...]:
        """Of one sample; the input's own sizes stand in for what only a file's contents tell."""
        return tuple(
            int(have if have is not None else want)
            for have, want in zip(part.shape[1:], self.info.shape[1:], strict=True)
        )

    def _check(self, part: Part) -> None:
        wanted, have = self.info.shape, part.shape
        fits = 0 < len(have) == len(wanted) and all(
            not isinstance(w, int) or w < 0 or h is None or w == h for w, h in zip(wanted[1:], have[1:], strict=True)
        )
        if not fits:
            shape = f"[{', '.join('?' if d is None else str(d) for d in have)}]"
            raise UsageError(
                f"{part.label}: shape {shape} does not fit input {self.info.name!r} of shape "
                f"[{', '.join(str(d) for d in wanted)}]",
                hint="the first dimension counts samples, unless batch_axis names another one; the others must be "
                "the input's",
            )
        if not may_hold(part.dtype, self.dtype):
            raise UsageError(
                f"{part.label}: {part.dtype} values for input {self.info.name!r}, which takes {self.dtype}",
                hint=f"store the samples as {self.dtype}",
            )


def open_column(
    spec: FeedSpec,
    info: TensorInfo,
    inputs: Sequence[TensorInfo],
    chain: Chain | None,
    bad_file: Callable[[UsageError], None] | None,
    axis: int = 0,
) -> Column:
    """The samples of one input.

    Args:
        spec: where they are.
        info: the input.
        inputs: all inputs of the model.
        chain: preprocessing; None for none.
        bad_file: gets what is wrong with a file that is one of many, which is then left out; None: it is raised.
        axis: of the input that counts samples. An array of one dimension more than the input has holds whole inputs.

    Raises:
        UsageError: missing file or key, wrong shape or type.
    """
    path = spec.names.get(info.name, spec.path)
    if path is None:
        raise UsageError(
            f"no samples for input {info.name!r}; there are some for {', '.join(spec.names) or 'none'}",
            hint=did_you_mean(info.name, spec.names) or "name a file for every input",
        )
    alone = len(inputs) == 1 or info.name in spec.names
    found = files(path)
    _tell_unread(path, found[0], bad_file)
    if chain is not None and found[0].suffix.lower() in images.SUFFIXES:
        chain.form(*IMAGE)  # what suits no image is told once, not of every file
    parts: list[Part] = []
    along: sample_axes.Axis = axis
    for file in found:
        try:
            part = _part(file, info, alone, chain)
            if len(found) == 1 and _is_stack(part, info):
                along = None
            elif axis and len(part.shape) == len(info.shape):
                part = _along(part, axis)
            Column(info, [part], along)
            parts.append(part)
        except UsageError as error:
            if bad_file is None or len(found) == 1:
                raise
            bad_file(error)
    if not parts:
        raise UsageError(f"{path}: none of its {len(found)} files can be used", hint="see the warnings above")
    return Column(info, parts, along)


def _is_stack(part: Part, info: TensorInfo) -> bool:
    """Whether an array has one dimension more than an input of a fixed first dimension: each row is a whole input."""
    fixed = bool(info.shape) and isinstance(info.shape[0], int)
    return fixed and isinstance(part, Array) and len(part.shape) == len(info.shape) + 1


def _along(part: Part, axis: int) -> Part:
    """A part whose samples lie along another axis; one that was given its first axis here holds one sample."""
    return part if isinstance(part, Array) and part.lifted else sample_axes.Moved(part, axis)


def dtype_of(info: TensorInfo) -> np.dtype:
    """NumPy's type for an input.

    Raises:
        UsageError: it takes texts, or another type that NumPy lacks.
    """
    try:
        found: np.dtype = np.dtype(_DTYPES.get(info.dtype, info.dtype))
    except TypeError:
        raise UsageError(
            f"input {info.name!r} is of type {info.dtype}, which samples cannot have",
            hint="TensorRT has no such type either: let the model begin behind it",
        ) from None
    return found


def _tell_unread(path: Path, first: Path, bad_file: Callable[[UsageError], None] | None) -> None:
    """Images in a folder of images that are of no kind that is read, such as TIFF, would be missing in silence."""
    if not path.is_dir() or first.suffix.lower() not in images.SUFFIXES:
        return
    for file in digests.files_under(path):
        kind = mimetypes.guess_type(file.name)[0] or ""
        pixels = kind.startswith("image/") and not kind.endswith("xml") and not file.name.startswith(".")
        if not pixels or file.suffix.lower() in OPENINGS:
            continue
        problem = UsageError(f"{file}: images of this kind are not read", hint=f"use {', '.join(images.SUFFIXES)}")
        if bad_file is None:
            raise problem
        bad_file(problem)


def files(path: Path) -> list[Path]:
    """The files that a path, a folder or a glob names; hidden ones, as systems leave them beside others, are not meant.

    Raises:
        UsageError: there are none.
    """
    if path.is_dir():
        found = [
            file
            for file in digests.files_under(path)
            if file.suffix.lower() in OPENINGS and not file.name.startswith(".")
        ]
        if not found:
            kinds = sorted({file.suffix or file.name for file in digests.files_under(path)})
            raise UsageError(
                f"{path}: no samples in this folder; {'only ' + ', '.join(kinds[:5]) if kinds else 'it is empty'}",
                hint=f"check data.path; files of samples are {', '.join(OPENINGS)}",
            )
        return found
    if digests.is_glob(path):
        found = sorted(file for file in path.parent.glob(path.name) if file.name[0] != "." or path.name[0] == ".")
        if not found:
            raise UsageError(f"{path}: no file matches", hint=f"look into {path.parent}")
        return found
    if not path.exists():
        raise UsageError(f"{path}: no such file", hint=path_meant(path) or "check data.path")
    return [path]


def _part(path: Path, info: TensorInfo, alone: bool, chain: Chain | None) -> Part:
    opening = OPENINGS.get(path.suffix.lower())
    if opening is None:
        raise UsageError(
            f"{path}: cannot read samples from this kind of file", hint=f"use one of {', '.join(OPENINGS)}"
        )
    part = opening(path, info, alone)
    if chain is not None:
        return Prepared(part, chain)
    return part.as_samples(len(info.shape)) if isinstance(part, Array) else part


def _npy(path: Path, info: TensorInfo, alone: bool) -> Array:
    if not alone:
        raise UsageError(
            f"{path}: one array, but the model has several inputs", hint="use an .npz with one array per input"
        )
    return open_npy(path)


def _npz(path: Path, info: TensorInfo, alone: bool) -> Array:
    return open_npz_member(path, info.name)


def _raw(path: Path, info: TensorInfo, alone: bool) -> Array:
    """Bytes as the input has them in memory, any number of samples one after the other."""
    sample = info.shape[1:]
    if not alone or any(not isinstance(dim, int) or dim < 1 for dim in sample):
        raise UsageError(
            f"{path}: raw bytes do not tell the shape of input {info.name!r} [{', '.join(map(str, info.shape))}]",
            hint="use .npy files",
        )
    dtype = dtype_of(info)
    size, wanted = path.stat().st_size, int(np.prod([int(d) for d in sample], dtype=np.int64)) * dtype.itemsize
    if not size or size % wanted:
        raise UsageError(
            f"{path}: {size} bytes, and one sample of input {info.name!r} has {wanted}",
            hint="raw files hold whole samples, in the input's type",
        )
    return Array(path, "", (size // wanted, *(int(d) for d in sample)), dtype, 0)


def _image(path: Path, info: TensorInfo, alone: bool) -> Part:
    if not alone:
        raise UsageError(f"{path}: an image, but the model has several inputs", hint="give a file or folder per input")
    return Image(path)


OPENINGS: Mapping[str, Callable[[Path, TensorInfo, bool], Part]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".raw": _raw,
    ".bin": _raw,
    **dict.fromkeys(images.SUFFIXES, _image),
}
"""How each kind of file is opened."""


@contextlib.contextmanager
def _numbered(rows: np.ndarray) -> Iterator[None]:
    """What is wrong with an image gets the number of its sample."""
    try:
        yield
    except BadImage as error:
        raise BadSample(error.problem.message, hint=error.problem.hint).at(int(rows[error.place])) from None


def _is_picture(part: Part) -> bool:
    return isinstance(part, Image) or (isinstance(part, Prepared) and part.of_picture)


def _is_mask(values: np.ndarray) -> bool:
    """Whether they are minus infinity or one other number everywhere: what is put over scores to leave some out."""
    finite = values[np.isfinite(values)]
    low = not np.isnan(values).any() and not np.isposinf(values).any()
    return low and finite.size > 0 and bool((finite == finite[0]).all())


def _finite(values: np.ndarray) -> bool:
    """Whether all are; a finite sum says so in one pass, any other needs a closer look."""
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype in (np.float32, np.float64) and np.isfinite(values.sum()):
            return True
    return bool(np.isfinite(values).all())

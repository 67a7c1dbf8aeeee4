"""The samples that one file holds: an image, or what preprocessing makes of a file's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.data import images
from trtconv.data.preprocess import Chain

IMAGE = ((None, None, 3), np.dtype(np.uint8))
"""Shape and type of an image that nobody has looked into."""


class BadSample(UsageError):
    """One sample cannot be used.

    Attributes:
        row: its number among all samples.
    """

    row = -1

    def at(self, row: int) -> BadSample:
        """The same, with its number."""
        self.row = row
        return self


class Part(Protocol):
    """Some samples of one input in one file.

    Attributes:
        path: of the file.
        shape: number of samples, then the shape of each; None where only the file's contents tell.
        dtype: of the values.
    """

    path: Path
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int | None, ...]:
        """See above."""

    @property
    def label(self) -> str:
        """File and key for messages."""

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Samples by number within the part, ascending."""

    def blocks_into(self, numbers: np.ndarray, out: np.ndarray) -> Iterator[np.ndarray]:
        """The same into an array of the same type; yields what is there, as it comes."""


class Image:
    """One image: uint8, [1, height, width, 3], red first."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)
        self._shape: tuple[int | None, ...] | None = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        """From its header, when somebody asks."""
        if self._shape is None:
            self._shape = (1, *images.size(self.path), 3)
        return self._shape

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """The one sample."""
        try:
            return images.decode(self.path)[None]
        except UsageError as error:
            raise BadSample(error.message, hint=error.hint).at(0) from None

    def blocks_into(self, numbers: np.ndarray, out: np.ndarray) -> Iterator[np.ndarray]:
        """The same into an array of its type."""
        out[...] = self.rows(numbers)
        yield out

    def picture(self) -> Any:
        """As the decoder holds it."""
        try:
            return images.picture(self.path)
        except UsageError as error:
            raise BadSample(error.message, hint=error.hint).at(0) from None


class Prepared:
    """A part whose samples go through a chain of preprocessing, one by one."""

    def __init__(self, part: Part, chain: Chain) -> None:
        self._part, self._chain = part, chain
        self.path, self.label = part.path, part.label
        self.of_picture = isinstance(part, Image)
        look = not (isinstance(part, Image) and chain.fixes_size)  # else there is no need to look into the file
        try:
            form = chain.form(part.shape[1:], part.dtype) if look else chain.form(*IMAGE)
        except UsageError as error:
            raise UsageError(f"{self.label}: {error.message}", hint=error.hint) from None
        self.shape: tuple[int | None, ...] = (part.shape[0] if look else 1, *form.shape)
        self.dtype = form.dtype

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Samples by number, prepared."""
        return np.stack([self._made(*each, self._chain) for each in zip(numbers, self._samples(numbers), strict=True)])

    def blocks_into(self, numbers: np.ndarray, out: np.ndarray) -> Iterator[np.ndarray]:
        """The same into an array of the result's type."""
        for target, number, sample in zip(out, numbers, self._samples(numbers), strict=True):
            self._made(number, sample, partial(self._chain.into, out=target))
            yield target

    def _samples(self, numbers: np.ndarray) -> Iterable[Any]:
        return [self._part.picture()] if isinstance(self._part, Image) else self._part.rows(numbers)

    def _made(self, number: int, sample: Any, work: Callable[[Any], Any]) -> Any:
        try:
            return work(sample)
        except UsageError as error:
            raise BadSample(f"{self.label}: {error.message}", hint=error.hint).at(int(number)) from None

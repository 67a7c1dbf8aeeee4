"""The file of a plan, written while TensorRT hands it over: its C++ must not see Python's exceptions."""

from __future__ import annotations

from pathlib import Path

from trtconv.core import hashed_file

LARGE = 2 * hashed_file.PIECE
"""Bytes of a model from which its plan is best had in pieces, of which two are there at a time."""


class PlanFile(hashed_file.HashedFile):
    """A file that is open for a plan.

    TensorRT orders some of its work by address, see ``isolated``: here memory is taken and given back in the same order
    every time.

    Attributes:
        error: why writing failed; the rest was not written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.error: OSError | None = None

    def take(self, piece: bytes) -> int:
        """Write a piece; the number of its bytes, or 0 after an error."""
        try:
            return self.write(piece)
        except OSError as error:
            self.error = self.error or error
            return 0

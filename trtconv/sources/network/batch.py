"""Implicit or explicit batch: what a script says of it, and what follows where it says nothing.

Up to TensorRT 9, ``create_network()`` made a network whose shapes leave the batch out; from 10 on the same call makes
one whose shapes hold it. That is the one thing that a script does not settle by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtconv.sources.network.enums import member

if TYPE_CHECKING:  # inspect and planning read the text of scripts, and need not wait for NumPy
    from trtconv.sources.network.definition import Network

_EXPLICIT = member("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")
_TYPED = member("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")
NEVER_IMPLICIT = 10
"""Major version from which a network holds its batch, whatever the flags."""

IMAGE = 3
"""Dimensions of an image without its batch."""


@dataclass(frozen=True)
class Decision:
    """How the shapes of a network are read.

    Attributes:
        implicit: whether they leave the batch out.
        reason: why, for people.
        guessed: whether the script left it open.
    """

    implicit: bool
    reason: str
    guessed: bool = False


def decide(network: Network, asked: str, major: int = 8) -> Decision:
    """Read the signs.

    Args:
        network: so far.
        asked: ``auto``, ``true`` or ``false``.
        major: version of TensorRT that the script is told.
    """
    if asked != "auto":
        return Decision(asked == "true", f"implicit_batch: {asked}")
    for flag in (_EXPLICIT, _TYPED):
        if network.get_flag(flag):
            return Decision(False, f"create_network was given {flag.name}")
    if major >= NEVER_IMPLICIT:
        return Decision(False, f"no network of TensorRT {major} has an implicit one")
    builder = network.builder
    if builder.profiles or any(size < 0 for tensor in network.inputs for size in tensor.given_shape or ()):
        return Decision(False, "it has dynamic dimensions")
    if builder.called_max_batch_size:
        return Decision(True, "create_network was given no flag and the builder a max_batch_size")
    if any(layer.kind_name == "fully_connected" for layer in network.layers):
        return Decision(True, "create_network was given no flag, and add_fully_connected went with it", guessed=True)
    ranks = [len(tensor.given_shape or ()) for tensor in network.inputs]
    if ranks and max(ranks) <= IMAGE:
        return Decision(True, f"create_network was given no flag and the inputs have {_dims(ranks)}", guessed=True)
    return Decision(False, f"create_network was given no flag and the inputs have {_dims(ranks)}", guessed=True)


def _dims(ranks: list[int]) -> str:
    if not ranks:
        return "no dimensions yet"
    return f"{max(ranks)} dimension{'s' if max(ranks) != 1 else ''}"
